"""Image files in folders as source, with one folder per class, and as sink."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elixir.data.files.image_list import ImageList
from elixir.data.files.layout import check_classes, find_split, split_of
from elixir.data.files.placing import Placing
from elixir.data.files.tree import Tree, in_junk, is_junk, looks_like_image, walk
from elixir.data.image import extension
from elixir.data.io import ROWS_AT_ONCE, RUN_FOLDER, reading_again, reason, replacing, writing
from elixir.data.paths import Names, escape, file_name, png_name, shortened, unescape
from elixir.data.sink import Decision, Sink
from elixir.data.source import Kind, Samples, Source
from elixir.errors import ElixirError, UnreadableSample

LARGEST_FILE = 1 << 30  # bytes; more is not read into memory


class FileSource:
    """Image files below a folder; which of them are samples, and their labels, `FolderSource` and others know.

    Attributes:
        root: absolute, links resolved.
        folders: paths of all folders relative to the root, escaped as ids are, sorted.
        others: those of all files that are no samples.
        split: folder at the root that holds the samples, None if it is the root itself.
        lists: those among the others that name samples and can be rewritten.
        places: the files and folders that are read.
    """

    kind: Kind = "folder"
    image: str | None = None
    label: str | None = None
    split: str | None = None

    def __init__(self, tree: Tree) -> None:
        self.root = tree.root
        self.location = tree.location
        self.classes: list[str] = []
        self.notes: list[str] = []
        self.lists: list[ImageList] = []
        self.places = [tree.root]
        self.folders = sorted(map(escape, tree.folders))
        self.others = sorted(map(escape, tree.others))
        self.samples: Samples = FileSamples([], np.empty(0), {})

    def path(self, index: int) -> Path:
        return self.root / unescape(self.samples.id(index))

    def read(self, index: int) -> bytes:
        if problem := self.samples.problems.get(index):
            raise UnreadableSample(problem)
        try:
            with self.path(index).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > LARGEST_FILE:
                    raise UnreadableSample(f"{size:,} bytes are too many for an image")
                return file.read()
        except OSError as error:
            raise UnreadableSample(reason(error)) from error

    def fingerprint(self) -> str:
        """See `Source.fingerprint`: from the paths, sizes and modification times of all files."""
        digest = hashlib.sha256("\0".join(self.folders).encode())
        for name in chain(self.samples.ids, self.others):
            try:
                state = (self.root / unescape(name)).stat()
                facts = f"{state.st_size} {state.st_mtime_ns}"
            except OSError as error:
                facts = reason(error)
            digest.update(f"{name}\0{facts}\0".encode())
        return digest.hexdigest()


class FileSamples(Samples):
    """Samples that are files.

    Args:
        ids, labels: of all.
        problems: of some, by their ids.
        folders: of each class, which its ids begin with and its names do not.
    """

    def __init__(
        self,
        ids: Sequence[str] | pa.Array,
        labels: np.ndarray,
        problems: Mapping[str, str],
        folders: Sequence[str] = (),
    ) -> None:
        self._ids = pa.array(ids, pa.large_string())
        known = pc.SetLookupOptions(pa.array(list(problems), pa.large_string()))
        lost = np.flatnonzero(pc.call_function("is_in", [self._ids], known)).tolist()
        super().__init__(labels, {row: problems[self.id(row)] for row in lost})
        self._starts = [*(len(folder) + 1 for folder in folders), 0]  # the last one is that of the label -1

    @classmethod
    def in_order(
        cls, labelled: Iterator[tuple[str, int]], problems: Mapping[str, str], folders: Sequence[str]
    ) -> FileSamples:
        """Those with these ids and labels, by label and then by id."""
        schema = pa.schema({"label": pa.int32(), "id": pa.large_string()})
        batches = []
        while some := list(islice(labelled, ROWS_AT_ONCE)):
            ids, labels = zip(*some, strict=True)
            batches.append(pa.record_batch([pa.array(labels, pa.int32()), pa.array(ids, pa.large_string())], schema))
        table = pa.Table.from_batches(batches, schema)
        del batches
        table = table.sort_by([("label", "ascending"), ("id", "ascending")])
        samples = cls(table["id"].combine_chunks(), table["label"].to_numpy(), problems, folders)
        pa.default_memory_pool().release_unused()  # of a million samples it would keep 50 MB
        return samples

    def id(self, index: int) -> str:
        return self._ids[index].as_py()

    def name(self, index: int) -> str:
        label = self.labels[index] if len(self._starts) > 1 else -1
        return self.id(index)[self._starts[label] :]


class FolderSource(FileSource):
    """Images in one folder per class, at any depth (see `tree.walk`).

    Attributes:
        class_folders: path of each class, escaped.
    """

    def __init__(self, tree: Tree, split: str | None = None) -> None:
        """The folders at the root, or those in the folder `split` there, are taken for classes.

        Raises: ElixirError: a class is a link, or all images are, and they are not followed.
        """
        super().__init__(tree)
        self.split = split and escape(split)
        base = f"{split}/" if split else ""
        _refuse_linked_classes(tree, base)
        names = _class_names(tree, base)
        self.classes = [escape(name) for name in names]
        self.class_folders = [escape(base + name) for name in names]
        labels = {name: label for label, name in enumerate(names)}
        outside: list[str] = []

        def labelled() -> Iterator[tuple[str, int]]:
            for path, problem in tree.images.items():
                folder, slash, _ = path.removeprefix(base).partition("/")
                if slash and folder in labels and path.startswith(base):
                    yield escape(path), labels[folder]
                elif problem:
                    yield escape(path), -1
                else:
                    outside.append(path)

        self.samples = FileSamples.in_order(labelled(), tree.problems, self.class_folders)
        self.others = sorted([*self.others, *map(escape, outside)])
        self._tell_unseen([*outside, *tree.others], base)
        if odd := [name for name in self.classes if split_of(name)]:
            self.notes.append(f"read as a class, though it may be a split by its name: {', '.join(odd[:5])}")
        if all("/" in self.samples.name(row) for row in np.flatnonzero(self.samples.labels >= 0).tolist()):
            few = ", ".join(self.classes[:3]) + (", …" if len(self.classes) > 3 else "")
            self.notes.append(f"the classes are the upper folders ({few}); the folders in them are not told apart")

    def _tell_unseen(self, paths: Iterable[str], base: str) -> None:
        seen = [path for path in paths if looks_like_image(path) and not in_junk(path)]
        elsewhere = sorted(path for path in seen if not path.startswith(base))
        outside = sorted(path for path in seen if path.startswith(base))
        for where, found in ((f"split {self.split}", elsewhere), ("class folders", outside)):
            if found:
                some = ", ".join(map(escape, found[:3])) + (", …" if len(found) > 3 else "")
                self.notes.append(f"images outside of the {where}, copied and not judged: {len(found)} ({some})")


def class_folders(tree: Tree, split: str | None = None, trusted: bool = False) -> FolderSource:
    """A class-per-folder tree, or one split of a tree of splits.

    Args:
        split: its folder at the root, by name or by what its name tells ("train" for "Training").
        trusted: whether the folders are classes whatever they are called.

    Raises: ElixirError: the folders are no classes (see `layout.check_classes`), or links that are not followed.
    """
    _refuse_links(tree)
    base = find_split(tree, split) if split else None
    if not trusted:
        check_classes(tree, base or "")
    source = FolderSource(tree, base)
    if (source.samples.labels < 0).all():
        raise ElixirError(f"{source.location} has no images in class folders; is it the right folder?")
    return source


def open_images(root: Path, follow_links: bool = False) -> FileSource:
    """All images below a folder, without labels. Raises: ElixirError: there are none, or it cannot be read."""
    tree = walk(root, follow_links)
    source = FileSource(tree)
    source.samples = FileSamples(list(map(escape, sorted(tree.images))), np.full(len(tree.images), -1), tree.problems)
    if not tree.images:
        raise ElixirError(f"{source.location} has no images in it; is it the right folder?")
    return source


def _class_names(tree: Tree, base: str) -> list[str]:
    """The folders of a place that hold images, or nothing at all."""
    places = [path.removeprefix(base) for path in tree.folders if path.startswith(base)]
    names = [name for name in places if name and "/" not in name and not is_junk(name)]
    bearing = {path.removeprefix(base).partition("/")[0] for path in tree.images if path.startswith(base)}
    filled = {path.removeprefix(base).partition("/")[0] for path in tree.others if path.startswith(base)}
    return sorted((name for name in names if name in bearing or name not in filled), key=escape)


def _refuse_linked_classes(tree: Tree, base: str) -> None:
    remedy = "add --follow-links to read it as if its files lay here"
    for path in sorted(tree.linked_folders):
        if path.startswith(base) and "/" not in path.removeprefix(base) and not is_junk(path.removeprefix(base)):
            raise ElixirError(f"the class {escape(path)} of {tree.location} is a link to another folder; {remedy}")


def _refuse_links(tree: Tree) -> None:
    if tree.images and all((problem or "").startswith("symbolic link") for problem in tree.images.values()):
        what = f"all {len(tree.images)} images of {tree.location} are links that leave it"
        raise ElixirError(f"{what}; add --follow-links to read what they lead to")


class FolderSink(Sink):
    """Writes `<class>/<name>`; see `Sink`.

    Untouched files are copied with times and permissions, links followed, or linked to (see `Placing`). A sample that
    moves to another class or becomes PNG gets "-1", "-2" ... before its extension if its name is one that the source
    has there, also if only in another case. Folders without images are there as well. Files from elsewhere than class
    folders lose their folders.
    """

    kind = "folder"

    def __init__(self, folder: Path, source: Source, placing: Placing) -> None:
        super().__init__(folder, source)
        self.outputs = []
        self._placing = placing
        self._partial = folder / RUN_FOLDER / "partial"
        self._names: dict[int, Names] = {}
        self._flat = isinstance(source, FileSource) and not isinstance(source, FolderSource)
        if isinstance(source, FolderSource):
            folders = [unescape(path) for path in source.folders]
            self._classes = [unescape(path) for path in source.class_folders]
        else:
            folders = self._classes = [file_name(name) for name in source.classes]
        with writing(folder):
            for path in folders:
                self._refuse(path)
                (folder / path).mkdir(parents=True, exist_ok=True)

    def write(self, index: int, decision: Decision) -> str:
        sample, data = self.source.samples[index], decision.data
        file = self.source.path(index) if isinstance(self.source, FileSource) else None
        old = unescape(sample.name) if file else sample.name
        if self._flat:
            old = old.rpartition("/")[2]
        if data is None and not file:
            with reading_again(sample.id):
                data = self.source.read(index)
        if data is not None and not file and not looks_like_image(old):
            name = shortened(old, extension(data))
        else:
            name = old if decision.data is None else png_name(old)
        if self._flat or (decision.label, name) != (sample.label, old):
            if decision.label not in self._names:
                self._names[decision.label] = self._in_class(decision.label)
            name = self._names[decision.label].free(name)
        path = f"{self._classes[decision.label]}/{name}"
        target = self.folder / path
        self._refuse(path)
        if data is not None:
            with replacing(target, self._partial) as partial:
                target.parent.mkdir(parents=True, exist_ok=True)
                partial.write_bytes(data)
        elif file:
            with reading_again(sample.id):
                file.open("rb").close()
            self._placing.put(file, target)
        return escape(path)

    def _refuse(self, path: str) -> None:
        """Raise an ElixirError for what is there already, as the output was empty."""
        if os.path.lexists(self.folder / path):
            what = f"{escape(path)} would be there twice on this file system, which does not tell upper from lower case"
            raise ElixirError(f"{what}; write to one that does, or to a table with --to parquet")

    def _in_class(self, label: int) -> Names:
        """What is written to a class folder whatever is decided about the other samples."""
        if self._flat:
            return Names([], [])
        samples = self.source.samples
        names = map(samples.name, np.flatnonzero(samples.labels == label).tolist())
        if not isinstance(self.source, FolderSource):
            return Names(names, [])
        start = f"{self._classes[label]}/"
        others, folders = (
            [path.removeprefix(start) for path in map(unescape, paths) if path.startswith(start)]
            for paths in (self.source.others, self.source.folders)
        )
        return Names([*map(unescape, names), *others], folders)
