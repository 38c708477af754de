"""What lies in a folder: its sub-folders, the files that are or may be images, and all other files."""

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from elixir.data.image import extension
from elixir.data.io import RUN_FOLDER, reason
from elixir.data.paths import escape
from elixir.errors import ElixirError

# Formats that are not decoded are here too, whoever reads them: such a file is reported, not passed on unseen.
OTHER_FORMATS = (
    ".apng .avif .bw .dcm .dib .dng .exr .gif .heic .heif .jfif .jpe .jxl .mpo .nii .nii.gz .npy .npz .pgx .psd .svg"
)
"""Endings of image files that Pillow may not know."""
JUNK = frozenset(
    ("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "thumbs.db")
)
"""What systems leave in folders, in lower case."""
_FOLLOW = "add --follow-links to read what it leads to"
_LINK_OUT = "symbolic link that leaves the folder"
_LINK_TO_FOLDER = "symbolic link to a folder"
_NAME = re.compile("[^/]+")


def looks_like_image(name: str) -> bool:
    """Whether a file is called like an image of any format."""
    return bool(_IMAGE_NAME.fullmatch(name))


def is_junk(name: str) -> bool:
    """Whether a file or folder is hidden or one that systems leave."""
    return name.startswith(".") or name.lower() in JUNK


def in_junk(path: str) -> bool:
    """Whether a path is that of such a file or folder, or leads through one."""
    return any(map(is_junk, path.split("/")))


class Images(Mapping[str, str | None]):
    """Paths of what is or may be an image, and why it cannot be read where that is known.

    The names in a folder are one text: as many strings would take several times the memory.

    Attributes:
        problems: those that cannot be read, and why: a link that leads nowhere or out of the tree, a folder that cannot
            be listed, a pipe.
    """

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}
        self._names: dict[str, str] = {}  # folder -> names, "/" before and behind each
        self._count = 0

    def add(self, folder: str, names: Sequence[str]) -> None:
        """Add the images that lie in a folder, "" for the root."""
        if names:
            self._names[folder] = f"/{'/'.join(names)}/"
            self._count += len(names)

    def items(self) -> Iterator[tuple[str, str | None]]:  # type: ignore[override]
        for folder, names in self._names.items():
            for match in _NAME.finditer(names):
                yield (f"{folder}/{match[0]}" if folder else match[0]), None
        yield from self.problems.items()

    def values(self) -> Iterator[str | None]:  # type: ignore[override]
        return (problem for _, problem in self.items())

    def __iter__(self) -> Iterator[str]:
        return (path for path, _ in self.items())

    def __len__(self) -> int:
        return self._count + len(self.problems)

    def __getitem__(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        if path not in self.problems and f"/{name}/" not in self._names.get(folder, ""):
            raise KeyError(path)
        return self.problems.get(path)


@dataclass
class Tree:
    """A folder, as `walk` has found it; paths are relative to `root` and as the system gives them, in no order.

    Attributes:
        root: absolute, links resolved.
        location: where it is, for people.
        folders: all below the root.
        images: see there.
        others: all other files.
        linked_folders: links to folders, which are among `images` with a problem.
    """

    root: Path
    location: str
    folders: list[str] = field(default_factory=list)
    images: Images = field(default_factory=Images)
    others: list[str] = field(default_factory=list)
    linked_folders: list[str] = field(default_factory=list)

    @property
    def problems(self) -> dict[str, str]:
        """Those among the images that have a problem, by their paths, escaped as ids are."""
        return {escape(path): problem for path, problem in self.images.problems.items()}


def walk(root: Path, follow_links: bool = False) -> Tree:
    """List a folder.

    An image is a file with the extension of one or with the first bytes of one; where it or a folder above it is hidden
    only the bytes count, as trainers read such images too, but systems leave files of their own there. What is hidden
    or junk at the root is no image, and a run folder of ours there is left out. Links to files inside the tree are
    followed; with `follow_links` so are links out of it and links to folders, each folder once.

    Raises: ElixirError: the folder itself cannot be listed.
    """
    tree = Tree(Path(os.path.realpath(root)), escape(str(root)))
    try:
        os.scandir(tree.root).close()
    except OSError as error:
        raise ElixirError(f"{tree.location} cannot be read: {reason(error)}; check its permissions") from error
    _Walk(tree, follow_links).run()
    return tree


class _Walk:
    def __init__(self, tree: Tree, follow_links: bool) -> None:
        self.tree = tree
        self.follow_links = follow_links
        self.followed: set[Path] = set()
        self.pending = [""]

    def run(self) -> None:
        while self.pending:
            folder = self.pending.pop()
            if folder:
                self.tree.folders.append(folder)
            images: list[str] = []
            for entry in self._entries(folder):
                path = f"{folder}/{entry.name}" if folder else entry.name
                if path == RUN_FOLDER:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    self.pending.append(path)
                elif self._is_image(path, entry):
                    images.append(entry.name)
            self.tree.images.add(folder, images)

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        """What is in a folder, one after the other, as there may be a million."""
        try:
            with os.scandir(self.tree.root / folder) as entries:
                yield from entries
        except OSError as error:
            self.tree.images.problems[folder] = f"folder cannot be listed: {reason(error)}"

    def _is_image(self, path: str, entry: os.DirEntry[str]) -> bool:
        """Whether what is no folder is an image without a problem; else it is put where it belongs."""
        if not entry.is_file(follow_symlinks=False) and not self._leads_to_file(path, entry):
            return False
        if not is_junk(path.partition("/")[0]) and _is_image(path, entry):
            return True
        self.tree.others.append(path)
        return False

    def _leads_to_file(self, path: str, entry: os.DirEntry[str]) -> bool:
        """Whether a link may be read as a file; also for what is neither a link nor a file nor a folder."""
        problem = None
        try:
            target = Path(os.path.realpath(entry.path, strict=True))
            mode = target.stat().st_mode
        except OSError as error:
            self.tree.images.problems[path] = "symbolic link loop" if error.errno == errno.ELOOP else reason(error)
            return False
        outside = not target.is_relative_to(self.tree.root)
        if stat.S_ISDIR(mode):
            problem = self._linked_folder(path, target, outside)
        elif not stat.S_ISREG(mode):
            problem = "not a regular file"
        elif outside and not self.follow_links:
            problem = f"{_LINK_OUT}; {_FOLLOW}"
        else:
            return True
        if problem:
            self.tree.images.problems[path] = problem
        return False

    def _linked_folder(self, path: str, target: Path, outside: bool) -> str | None:
        """What is wrong with it, unless it is to be listed."""
        if not self.follow_links:
            self.tree.linked_folders.append(path)
            return f"{_LINK_OUT if outside else _LINK_TO_FOLDER}; {_FOLLOW}"
        if target in self.followed or Path(os.path.realpath((self.tree.root / path).parent)).is_relative_to(target):
            return f"{_LINK_TO_FOLDER} that is read already"
        self.followed.add(target)
        self.pending.append(path)
        return None


def _is_image(path: str, entry: os.DirEntry[str]) -> bool:
    hidden = any(part.startswith(".") for part in path.split("/"))
    if looks_like_image(entry.name) and not hidden:
        return True
    with suppress(OSError), Path(entry.path).open("rb") as file:
        return extension(file.read(256)) != ".bin"
    return True  # it may be an image, so it is listed rather than passed on unseen


def _image_name() -> re.Pattern[str]:
    known = Image.registered_extensions().items()
    endings = {ending for ending, format_ in known if format_ in Image.OPEN} | set(OTHER_FORMATS.split())
    return re.compile(f".*({'|'.join(map(re.escape, sorted(endings)))})", re.IGNORECASE | re.DOTALL)


_IMAGE_NAME = _image_name()
