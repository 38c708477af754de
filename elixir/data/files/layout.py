"""What the folders of a tree are: classes; or splits, kinds of files, or a level above the classes, which is refused.

A folder that is read at the wrong level looks like a set with few classes that no model can tell apart, and would be
cleared.
"""

import re
import shlex
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from elixir.data.files.tree import Tree, is_junk
from elixir.data.paths import escape, printable
from elixir.errors import ElixirError

SPLITS = {
    "train": ("train", "training", "trn", "tr", "trainset", "trainval"),
    "test": ("test", "testing", "tst", "te", "testset", "eval", "evaluation", "holdout", "heldout", "unseen"),
    "validation": ("val", "valid", "validation", "validate", "vali", "dev", "devel", "valset"),
    "other": ("labeled", "labelled", "unlabeled", "unlabelled", "predict", "inference"),
}
"""Words for splits by their canonical name, in lower case."""
KINDS = re.compile(
    r"(images?|imgs?|pictures?|pics?|photos?|jpe?gs?|jpegimages|pngs?|rgb|inputs?|x"
    r"|masks?|annotations?|labels?|gt|ground_?truths?|targets?|y|bbox(es)?|box(es)?|depths?|edges?|segmentations?"
    r"|segmentation_?(class|object)|thumb(nail)?s?|raw|originals?|augmented|meta(data)?|json|xml|txt|csv|captions?)",
    re.IGNORECASE,
)
"""Names of folders that tell what kind of files are in them."""
ASIDE = re.compile(
    r"(docs?|documentation|examples?|demos?|fig(ure)?s?|plots?|assets?|static|media|screenshots?|previews?|samples?"
    r"|results?|outputs?|logs?|scripts?|src|code|notebooks?|te?mp|misc|backups?|old)",
    re.IGNORECASE,
)
"""Names of folders that lie beside the data."""
SHARED = 2  # sub-folders of the same names in most folders from which on these are not taken for classes

_LIST = "give a CSV or JSONL file with their paths and labels"
_WORD = re.compile(r"[a-z]+")
_WRAPPING = frozenset(("set", "data", "dataset", "split", "images", "image", "imgs", "img", "folder", "files"))


class NoClassFolders(ElixirError):
    """The images of a folder lie in no class folders of its own, so that their labels may stand in a list."""


@dataclass
class Folder:
    """Where images lie: how many in the folder itself, and in its sub-folders (those alone that have some below)."""

    images: int = 0
    folders: dict[str, "Folder"] = field(default_factory=dict)

    @property
    def bearing(self) -> dict[str, "Folder"]:
        """The sub-folders, but for hidden ones and what systems leave."""
        return {name: child for name, child in sorted(self.folders.items()) if not is_junk(name)}

    @property
    def passes_on(self) -> bool:
        """Whether all its images lie in sub-folders."""
        return not self.images and bool(self.bearing)


def folders_of(tree: Tree) -> Folder:
    """Where the images of a tree lie; a link to a folder counts as a folder with an image."""
    root = Folder()
    linked = set(tree.linked_folders)
    for path in tree.images:
        *parents, name = path.split("/")
        folder = root
        for parent in [*parents, name] if path in linked else parents:
            folder = folder.folders.setdefault(parent, Folder())
        folder.images += 1
    return root


def split_of(name: str) -> str | None:
    """The canonical name of the split that a folder's name tells: "train" for "Training" and "01-train_images"."""
    words = [word for word in _WORD.findall(_separated(name)) if word not in _WRAPPING]
    known = [canonical for canonical, names in SPLITS.items() if len(words) == 1 and words[0] in names]
    return known[0] if known else None


def find_split(tree: Tree, split: str) -> str:
    """The folder at the root that is this split, by its name or else by what its name tells."""
    names = sorted(path for path in tree.folders if "/" not in path and not is_junk(path))
    if split in names:
        return split
    wanted = split_of(split)
    found = [name for name in names if wanted and split_of(name) == wanted]
    if len(found) != 1:
        there = ", ".join(_shown(name) for name in found or names) or "no folders"
        raise ElixirError(f"{tree.location} has no folder {split!r} that could be this split but {there}; name one")
    return found[0]


def check_classes(tree: Tree, base: str = "") -> None:
    """Make sure that the folders in `base`, "" or a folder at the root, are classes.

    Raises: ElixirError: they are something else, with the command that is meant, or there is one alone.
    """
    top = folders_of(tree)
    _Check(tree.location, base).classes(top.folders.get(base, Folder()) if base else top)


class _Check:
    """The questions, one after the other, about a folder at a location (and a split of it that was named)."""

    def __init__(self, location: str, split: str) -> None:
        self.location = location
        self.where = f"{location}/{escape(split)}" if split else location

    def classes(self, here: Folder) -> None:
        if not here.bearing:
            self._no_folders(here)
        self.folders(here.bearing)

    def folders(self, bearing: dict[str, Folder]) -> None:
        self._hub_cache(bearing)
        self._splits(bearing)
        self._level(bearing)
        self._kinds(bearing)
        self._shared(bearing)
        if len(bearing) == 1:
            (name,) = bearing
            what = f"all images of {self.where} lie in one folder, {_shown(name)}"
            what += ": with a single class there is nothing to tell apart"
            raise self._refusal(what, "give the folder above", NoClassFolders)

    def _no_folders(self, here: Folder) -> None:
        if here.images:
            what = f"{self.where} has images but no class folders"
            raise NoClassFolders(f"{what}; put the images into one folder per class, or {_LIST}")
        raise ElixirError(f"{self.where} has no images in class folders; is it the right folder?")

    def _splits(self, bearing: dict[str, Folder]) -> None:
        splits = [name for name in bearing if split_of(name)]
        rest = [child for name, child in bearing.items() if name not in splits]
        beside = all(not child.passes_on for child in rest) and any(bearing[name].passes_on for name in splits)
        if not splits or not (not rest or len(splits) > 1 or beside):
            return
        best = next((name for name in splits if split_of(name) == "train"), splits[0])
        if bearing[best].passes_on:
            command = f"elixir sanitize {self._quoted()} --split {shlex.quote(escape(best))}"
            remedy = (
                f"give `{command} -o DST`, which cleans this one and copies all else, or {self.where}/{_shown(best)}"
            )
            raise self._refusal(f"the folders {_listed(splits)} of {self.where} are splits, not classes", remedy)
        what = f"the folders {_listed(splits)} of {self.where} are splits and have no class folders in them"
        raise self._refusal(what, f"put the images into one folder per class, or {_LIST}", NoClassFolders)

    def _hub_cache(self, bearing: dict[str, Folder]) -> None:
        if {"blobs", "snapshots"} <= bearing.keys():
            commits = [f"{self.where}/snapshots/{escape(commit)}" for commit in bearing["snapshots"].bearing]
            what = f"{self.where} is the Hugging Face cache of a dataset"
            raise ElixirError(f"{what}; give {' or '.join(map(shlex.quote, commits))}, with --follow-links")

    def _level(self, bearing: dict[str, Folder]) -> None:
        below, lower = self.where, bearing
        while len(data := _of_data(lower)) == 1 and next(iter(data.values())).passes_on:
            ((name, child),) = data.items()
            below, lower = f"{below}/{escape(name)}", child.bearing
        if lower is bearing:
            return
        _Check(below, "").folders(lower)
        remedy = f"give `elixir sanitize {shlex.quote(below)} -o DST`"
        what = f"the classes are not the folders of {self.where} but those of {printable(below)}"
        raise self._refusal(what, remedy, NoClassFolders)

    def _kinds(self, bearing: dict[str, Folder]) -> None:
        if all(KINDS.fullmatch(name) for name in bearing):
            what = f"the folders of {self.where} ({_listed(bearing)}) are for kinds of files, not for classes"
            below = [f"{self.where}/{_shown(name)}" for name, child in bearing.items() if child.passes_on]
            remedy = f"give {' or '.join(below)}" if below else f"put the images into one folder per class, or {_LIST}"
            raise self._refusal(what, remedy, NoClassFolders)

    def _shared(self, bearing: dict[str, Folder]) -> None:
        counts = Counter(name for child in bearing.values() for name in child.bearing)
        shared = [name for name, count in counts.items() if count > len(bearing) / 2 and count > 1]
        if len(shared) < SHARED or not all(child.passes_on for child in bearing.values()):
            return
        what = f"{_listed(bearing)} in {self.where} have the same folders ({_listed(shared)}) in them"
        if all(split_of(name) for name in shared) or all(KINDS.fullmatch(name) for name in shared):
            raise self._refusal(f"{what}, which are no classes", "take out those that are not meant")
        command = f"elixir sanitize {self._quoted()} --split {shlex.quote(escape(next(iter(bearing))))} -o DST"
        raise self._refusal(f"{what}: it cannot be told which are the classes", f"if it is these, give `{command}`")

    def _refusal(self, what: str, remedy: str, kind: type[ElixirError] = ElixirError) -> ElixirError:
        anyway = f"where the folders of {self.where} are classes all the same, give folder:{self._quoted()}"
        return kind(f"{what}; {remedy}; {anyway}")

    def _quoted(self) -> str:
        return shlex.quote(self.where)


def _separated(name: str) -> str:
    """In lower case, with a border where camel case has one."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _of_data(bearing: dict[str, Folder]) -> dict[str, Folder]:
    """The only folder, or those of several whose names do not tell that they lie beside the data."""
    if len(bearing) == 1:
        return bearing
    return {name: child for name, child in bearing.items() if not (ASIDE.fullmatch(name) or KINDS.fullmatch(name))}


def _shown(name: str) -> str:
    return printable(escape(name))


def _listed(names: Collection[str]) -> str:
    some = [_shown(name) for name in list(names)[:5]]
    return ", ".join(some) + (", …" if len(names) > 5 else "")
