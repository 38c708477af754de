"""Images whose labels stand in a list, as source and as sink; and what lists there are in a folder."""

import shlex
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from elixir.data.files.folder import FileSamples, FileSource, FolderSource, class_folders
from elixir.data.files.image_list import (
    OUTSIDE,
    Files,
    ImageList,
    as_text,
    compare_labels,
    read_image_list,
    read_labels,
    without_ending,
)
from elixir.data.files.layout import NoClassFolders, find_split, split_of
from elixir.data.files.lists import is_list_name, read_list
from elixir.data.files.placing import Placing
from elixir.data.files.tree import Tree, in_junk, looks_like_image, walk
from elixir.data.io import RUN_FOLDER, reading_again, replacing
from elixir.data.paths import Names, escape, file_name, png_name, printable, unescape
from elixir.data.sink import Decision, Sink
from elixir.data.source import Kind, Source
from elixir.data.tables.table import Choice
from elixir.errors import ElixirError

SHOWN = 3  # files or lines that a message names
LONGEST_ID = 1000  # characters of the id of a file that is not there, from which on it is shortened


class ListSource(FileSource):
    """The images that a list names, in its order; classes are the values of its label column.

    A row whose file cannot be found is a sample with a problem.

    Attributes:
        listed: the list.
        image, label: its columns.
        alone: whether nothing but the list and its images is read.
    """

    kind: Kind = "list"

    def __init__(self, tree: Tree, listed: ImageList, split: str | None = None, alone: bool = False) -> None:
        """With a split only rows that mean files in that folder count; `alone` leaves out what the list does not name.

        Raises: ElixirError: the list has no labels, names a file twice with different ones, or names none.
        """
        super().__init__(tree)
        self.listed = listed
        self.alone = alone
        self.image, self.label = listed.path, listed.label
        self.split = split and escape(split)
        self.classes, values, labels = read_labels(listed)
        listed.values = dict(enumerate(values))
        rows = self._rows_of_files(listed, labels, f"{split}/" if split else "")
        self._refuse_none(listed, rows)
        listed.find_dependent(labels)
        unlisted = sorted(path for path in tree.images.problems if path not in rows and not alone)
        given = [labels[row] for row in rows.values()]
        lost = {escape(path): problem for path, row in rows.items() if (problem := listed.meaning.problems[row])}
        ids = list(map(escape, (*rows, *unlisted)))
        self.samples = FileSamples(ids, np.array([*given, *(-1 for _ in unlisted)]), tree.problems | lost)
        where = f"{listed.file.place}, column {listed.label!r}; it names images in {listed.path!r}"
        self.notes.append(f"the labels are those of {where}")
        if unlabelled := sum(label < 0 for label in given):
            self.notes.append(f"{unlabelled} of {len(given)} images have no label")
        self.lists = [listed]
        if alone:
            self._leave_the_rest(tree, listed)
        else:
            self._tell_unlisted(tree, listed, set(rows))

    def _rows_of_files(self, listed: ImageList, labels: list[int], base: str) -> dict[str, int]:
        """The first row with a label of each file, by its path; a path that cannot be one gets a name for it."""
        meaning, texts = listed.meaning, listed.texts(listed.path)
        rows: dict[str, int] = {}
        again = nameless = 0
        for row, (file, text) in enumerate(zip(meaning.files, texts, strict=True)):
            if text is None:
                nameless += 1
                continue
            if file is not None and not file.startswith(base):
                continue
            path = meaning.files[row] = file if file is not None else _missing(listed.place, text)
            first = rows.setdefault(path, row)
            if first == row:
                continue
            again += 1
            if labels[first] < 0:
                rows[path] = row
            elif labels[row] not in (-1, labels[first]) and file is not None:
                one, other = (f"line {listed.file.rows[line].line}" for line in (first, row))
                given = " and ".join(repr(self.classes[labels[line]][:80]) for line in (first, row))
                what = f"{one} and {other} of {listed.file.place} give {printable(escape(path))} the labels {given}"
                raise ElixirError(f"{what}; leave one of them")
        if again:
            self.notes.append(f"{again} rows of {listed.file.place} name an image that a row above names")
        if nameless:
            self.notes.append(f"{nameless} rows of {listed.file.place} name no image")
        return rows

    def _refuse_none(self, listed: ImageList, rows: Mapping[str, int]) -> None:
        problems = [listed.meaning.problems[row] for row in rows.values()]
        if not all(problems):
            lost = [path for path, row in rows.items() if listed.meaning.problems[row]]
            if lost:
                some = ", ".join(printable(escape(path)) for path in lost[:SHOWN])
                self.notes.append(f"{len(lost)} images that {listed.file.place} names cannot be found ({some})")
            return
        first = next((listed.texts(listed.path)[row] or "" for row in rows.values()), "")
        remedy = "put the list into the folder that holds the images"
        if OUTSIDE in problems:
            remedy = "put it into the folder that holds the images, and write their paths from there"
        what = f"column {listed.path!r} of {listed.file.place} names no image in {self.location}"
        raise ElixirError(f"{what} (it begins with {printable(first)[:80]!r}); {remedy}")

    def _tell_unlisted(self, tree: Tree, listed: ImageList, named: set[str]) -> None:
        outside = sorted(path for path, problem in tree.images.items() if not problem and path not in named)
        others = {*tree.others, *outside} - named
        self.others = sorted(map(escape, others))
        seen = [path for path in outside if looks_like_image(path) and not in_junk(path)]
        if seen:
            some = ", ".join(printable(escape(path)) for path in seen[:SHOWN]) + (", …" if len(seen) > SHOWN else "")
            what = f"images that {listed.file.place} does not name, copied and not judged"
            self.notes.append(f"{what}: {len(seen)} ({some})")

    def _leave_the_rest(self, tree: Tree, listed: ImageList) -> None:
        paths = [*map(unescape, self.samples.ids)]
        parents = {parent for path in paths for parent in _parents(path)}
        self.folders = sorted(escape(path) for path in tree.folders if path in parents | set(_parents(listed.place)))
        self.others = [escape(listed.place)]
        tops = {path.partition("/")[0] for path in paths}
        flat = any("/" not in path for path in paths)
        self.places = [tree.root / listed.place, *([tree.root] if flat else [tree.root / top for top in sorted(tops)])]
        what = f"{listed.file.place} and the images that it names"
        self.notes.append(f"only {what} are read and in the output; give the folder to have all else copied")


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]


def _missing(place: str, text: str) -> str:
    """What to call a file that cannot be found: a path that leads nowhere out of a folder, whatever the list says."""
    if len(text) > LONGEST_ID or "/../" in f"/{text}/" or text.startswith("/"):
        return file_name(text.replace("\\", "/"))
    folder = place.rpartition("/")[0]
    return "/".join(file_name(part) for part in f"{folder}/{text}".split("/") if part not in ("", "."))


def open_tree(root: Path, choice: Choice, follow_links: bool = False, trusted: bool = False) -> FileSource:
    """A folder of images: in class folders, or with the labels in a list that lies there.

    Args:
        choice: columns of the list, and a split (a folder at the root).
        trusted: whether the folders are classes whatever they are called.

    Raises: ElixirError: neither is the case, or lists and class folders contradict each other.
    """
    tree = walk(root, follow_links)
    try:
        source: FileSource = class_folders(tree, choice.split, trusted)
    except NoClassFolders as refusal:
        source = _ListsOf(tree, choice, refusal).open()
    else:
        if choice.image or choice.label:
            what = f"{source.location} has class folders; leave out --image and --label, which are for tables and lists"
            raise ElixirError(f"{what}, or give a list alone, as list:FILE")
    _add_lists(tree, source, trusted)
    return source


class _ListsOf:
    """The lists of a tree without class folders."""

    def __init__(self, tree: Tree, choice: Choice, refusal: ElixirError) -> None:
        self.tree, self.choice, self.refusal = tree, choice, refusal
        self.base = find_split(tree, choice.split) if choice.split else None
        self.files = Files(tree.images, tree.others)

    def open(self) -> ListSource:
        """The one there is. Raises: ElixirError: there is none, or there are several."""
        within = f"{self.base}/" if self.base else ""
        found: list[ImageList] = []
        reasons: list[ElixirError] = []
        for place in self._places(within):
            try:
                listed = read_image_list(
                    self.tree.root, place, self.files, self.choice.image, self.choice.label, within
                )
                if within and not any((file or "").startswith(within) for file in listed.meaning.files):
                    continue
                read_labels(listed)
                found.append(listed)
            except ElixirError as reason:
                reasons.append(reason)
        if not self.base:
            self._refuse_in_splits(found)
        if len(found) > 1 and self.base:
            found = [listed for listed in found if _tells(listed.place) == split_of(self.base)] or found
        if len(found) > 1:
            which = " or ".join(f"list:{shlex.quote(f'{self.tree.location}/{one.file.place}')}" for one in found)
            names = ", ".join(listed.file.place for listed in found)
            what = f"several lists in {self.tree.location} give labels ({names}); give one, as {which}"
            raise ElixirError(f"{what}, or the folder of a split with --split")
        if not found and len(reasons) == 1:
            raise ElixirError(f"{self.refusal}; {reasons[0]}") from self.refusal
        if not found:
            raise self.refusal
        return ListSource(self.tree, found[0], self.base)

    def _places(self, within: str) -> list[str]:
        places = _list_places(self.tree)
        return [place for place in places if place.startswith(within) or "/" not in place]

    def _refuse_in_splits(self, found: list[ImageList]) -> None:
        splits = sorted({one.place.split("/")[0] for one in found if _in_split(one.place)})
        for one in found:
            tops = {file.split("/")[0] for file in one.meaning.files if file and _in_split(file)}
            splits += sorted(tops) if len(tops) > 1 else []
        if splits:
            best = next((split for split in splits if split_of(split) == "train"), splits[0])
            names = ", ".join(one.file.place for one in found)
            what = f"the folders {', '.join(map(escape, splits))} of {self.tree.location} are splits, listed in {names}"
            command = f"elixir sanitize {shlex.quote(self.tree.location)} --split {shlex.quote(escape(best))} -o DST"
            raise ElixirError(f"{what}; give `{command}`, which cleans this one and copies all else")


def _tells(place: str) -> str | None:
    """The split that the name of a list or of its folder tells."""
    parts = [*place.split("/")[:-1], without_ending(place.rpartition("/")[2])]
    return next((split for part in parts if (split := split_of(part))), None)


def _in_split(place: str) -> bool:
    folder, slash, _ = place.partition("/")
    return bool(slash) and split_of(folder) is not None


def _list_places(tree: Tree) -> list[str]:
    """Files that may be lists of images, but not those beside one image and about it alone."""
    places = [path for path in sorted(tree.others) if is_list_name(path) and not in_junk(path)]
    alone = set(map(without_ending, places)).intersection(map(without_ending, tree.images)) if places else ()
    return [path for path in places if without_ending(path) not in alone]


def _add_lists(tree: Tree, source: FileSource, trusted: bool) -> None:
    """Find the lists beside samples whose labels come from elsewhere. Raises: ElixirError: they contradict these."""
    places = [place for place in _list_places(tree) if place not in {listed.place for listed in source.lists}]
    if not places:
        return
    files = Files(tree.images, tree.others)
    labels = dict(zip(map(unescape, source.samples.ids), source.samples.labels.tolist(), strict=True))
    within = f"{unescape(source.split)}/" if source.split else ""
    usual: dict[str, dict[int, str]] = defaultdict(dict)
    for place in places:
        try:
            listed = read_image_list(tree.root, place, files, within=within)
        except ElixirError:
            continue  # no list of images; it is set aside where it names one that changes
        if not any(file in labels for file in listed.meaning.files):
            continue
        given = [labels.get(file, -1) if file is not None else -1 for file in listed.meaning.files]
        contradiction = compare_labels(listed, given, source.classes, usual[place.rpartition("/")[2]])
        if contradiction and isinstance(source, FolderSource) and not trusted:
            whole = shlex.quote(f"{source.location}/{listed.file.place}")
            by_list = f"give `elixir sanitize list:{whole} -o DST` to go by the list"
            by_folders = f"folder:{shlex.quote(source.location)} to go by the folders"
            what = f"the labels of {listed.file.place} contradict the class folders: {contradiction}"
            raise ElixirError(f"{what}; correct what is wrong, or {by_list}, or {by_folders}")
        if contradiction:
            source.notes.append(f"other labels stand in {listed.file.place}, and were not used: {contradiction}")
            continue
        listed.find_dependent(given)
        source.lists.append(listed)


def open_list(file: Path, choice: Choice, follow_links: bool = False) -> ListSource:
    """A list and the images that it names, in its folder or the one above.

    Raises: ElixirError: it is no list of images and labels, or names none that are there.
    """
    if choice.split:
        raise ElixirError(f"{escape(str(file))} is a list, which has no splits; leave out --split")
    try:
        return open_list_at(file.parent, file.name, choice, follow_links)
    except ElixirError:
        above = Path(file.parent.resolve().parent)
        place = f"{file.parent.resolve().name}/{file.name}"
        if not _reaches(file, above):
            raise
    return open_list_at(above, place, choice, follow_links)


def open_list_at(root: Path, place: str, choice: Choice, follow_links: bool = False) -> ListSource:
    """A list at a path in the folder `root`, and the images below this that it names; see `open_list`."""
    tree = walk(root, follow_links)
    files = Files(tree.images, (path for path in tree.others if path != place))
    listed = read_image_list(tree.root, place, files, choice.image, choice.label)
    source = ListSource(tree, listed, alone=True)
    source.location = escape(str(root / place))
    return source


def _reaches(file: Path, above: Path) -> bool:
    """Whether the first rows of a list name files in the folder above its own."""
    here = file.parent.resolve()
    for row in read_list(file, escape(file.name)).rows[:SHOWN]:
        for value in filter(None, map(as_text, row.values.values())):
            for folder in (here, above):
                with suppress(OSError, ValueError):
                    place = (folder / value).resolve(strict=True)
                    if place.is_file() and place.is_relative_to(above) and not place.is_relative_to(here):
                        return True
    return False


class ListSink(Sink):
    """Writes every image at its own path, a repaired one with the ending ".png"; see `Sink`.

    The list is rewritten when all is decided; see `elixir.data.files.beside`.
    """

    kind = "list"

    def __init__(self, folder: Path, source: Source, placing: Placing) -> None:
        super().__init__(folder, source)
        if not isinstance(source, ListSource):
            what = f"{source.location} has no list of its images that could be rewritten"
            raise ElixirError(f"{what}; write it with --to folder, hf or parquet")
        self.outputs = []
        self._images = source
        self._placing = placing
        self._partial = folder / RUN_FOLDER / "partial"
        for path in source.folders:
            (folder / unescape(path)).mkdir(parents=True, exist_ok=True)
        paths = [unescape(path) for path in (*source.samples.ids, *source.others)]
        by_name = source.listed.meaning.how != "path"
        names: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            parent, _, name = path.rpartition("/")
            names["" if by_name else parent].append(name)
        folders: dict[str, list[str]] = defaultdict(list)
        for path in map(unescape, source.folders):
            folders[path.rpartition("/")[0]].append(path.rpartition("/")[2])
        self._by_name = by_name
        self._names = {parent: Names(there, folders[parent]) for parent, there in names.items()}

    def write(self, index: int, decision: Decision) -> str:
        sample, data = self.source.samples[index], decision.data
        path = unescape(sample.id)
        if data is None:
            file = self._images.path(index)
            with reading_again(sample.id):
                file.open("rb").close()
            self._placing.put(file, self.folder / path)
            return sample.id
        parent, slash, name = path.rpartition("/")
        if png_name(name) != name:
            name = self._names["" if self._by_name else parent].free(png_name(name))
        path = parent + slash + name
        with replacing(self.folder / path, self._partial) as partial:
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
        return escape(path)
