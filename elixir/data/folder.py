"""A tree with one folder per class, as source and as sink."""

import errno
import hashlib
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np

from elixir.data.image import extension
from elixir.data.io import RUN_FOLDER, copy, reading_again, reason, replacing, writing
from elixir.data.paths import Names, escape, file_name, png_name, shortened, unescape
from elixir.data.sink import Decision, Sink
from elixir.data.source import Sample, Source
from elixir.errors import ElixirError, UnreadableSample

LARGEST_FILE = 1 << 30  # bytes; more is not read into memory

# Formats that are not decoded are here too: such a file is reported, not passed on unseen.
IMAGE_NAME = re.compile(
    r".*\.(a?png|jpe?g|jpe|jfif|mpo|webp|bmp|dib|p[pgbn]m|tiff?|gif|avif|hei[cf]|jp2|jxl|svg|ico|tga|psd|exr)",
    re.IGNORECASE | re.DOTALL,
)
_SPLITS = frozenset(("train", "test", "val", "valid", "validation", "dev"))


class FolderSource:
    """Images in one folder per class, at any depth; without `labelled`, anywhere in the tree and without labels.

    A sample is a file with an image extension or with the first bytes of an image; where it or a folder above it is
    hidden, only the bytes count: trainers read such images too, but systems leave files of their own there. Links to
    files inside the tree are followed. What cannot be used is a sample with a `problem`: a link that leaves the tree,
    leads nowhere or to a folder, a folder that cannot be listed, a pipe. A run folder of ours at the root is left out.

    Attributes:
        root: absolute, links resolved.
        folders: paths of all folders relative to the root, escaped as ids are, sorted.
        others: those of all other files: hidden at the root, outside class folders, or no image.
    """

    kind: Literal["folder"] = "folder"

    def __init__(self, root: Path, labelled: bool = True) -> None:
        self.location = escape(str(root))
        self.root = Path(os.path.realpath(root))
        self.folders: list[str] = []
        self.others: list[str] = []
        self.samples: list[Sample] = []
        self.notes: list[str] = []
        try:
            top = [entry.name for entry in os.scandir(self.root) if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            raise ElixirError(f"{self.location} cannot be read: {reason(error)}; check its permissions") from error
        self.classes = sorted(escape(name) for name in top if labelled and not name.startswith("."))
        self._labelled = labelled
        self._labels = {name: label for label, name in enumerate(self.classes)}
        if "train" in self.classes and _SPLITS.issuperset(self.classes):
            raise ElixirError(f"{self.location} holds splits, not classes; name one of them: {self.location}/train")
        self._walk()
        if labelled and not self.classes:
            raise ElixirError(f"{self.location} has no class folders; put the images into one folder per class")
        if not labelled and not self.samples:
            raise ElixirError(f"{self.location} has no images in it; is it the right folder?")
        if labelled and all(sample.label < 0 for sample in self.samples):
            raise ElixirError(f"{self.location} has no images in its class folders; is it the right folder?")
        self.samples.sort(key=lambda sample: (sample.label, sample.id))
        self.folders.sort()
        self.others.sort()

    def path(self, index: int) -> Path:
        return self.root / unescape(self.samples[index].id)

    def read(self, index: int) -> bytes:
        if problem := self.samples[index].problem:
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
        for name in (*(sample.id for sample in self.samples), *self.others):
            try:
                state = (self.root / unescape(name)).stat()
                facts = f"{state.st_size} {state.st_mtime_ns}"
            except OSError as error:
                facts = reason(error)
            digest.update(f"{name}\0{facts}\0".encode())
        return digest.hexdigest()

    def _walk(self) -> None:
        pending = [""]
        while pending:
            folder = pending.pop()
            if folder:
                self.folders.append(escape(folder))
            try:
                entries = list(os.scandir(self.root / folder))
            except OSError as error:
                self._add(folder, f"folder cannot be listed: {reason(error)}")
                continue
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if path == RUN_FOLDER:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                elif not entry.is_file(follow_symlinks=False) and (problem := self._problem(entry)):
                    self._add(path, problem)
                elif ("/" in path or not self._labelled) and not path.startswith(".") and _is_image(path, entry):
                    self._add(path, None)
                else:
                    self.others.append(escape(path))

    def _add(self, path: str, problem: str | None) -> None:
        path = escape(path)
        folder, slash, name = path.partition("/")
        label = self._labels.get(folder, -1) if slash else -1
        self.samples.append(Sample(path, label, name if label >= 0 else path, problem))

    def _problem(self, entry: os.DirEntry[str]) -> str | None:
        try:
            target = Path(os.path.realpath(entry.path, strict=True))
            mode = target.stat().st_mode
        except OSError as error:
            return "symbolic link loop" if error.errno == errno.ELOOP else reason(error)
        if not target.is_relative_to(self.root):
            return "symbolic link that leaves the folder"
        if stat.S_ISDIR(mode):
            return "symbolic link to a folder"
        return None if stat.S_ISREG(mode) else "not a regular file"


class FolderSink(Sink):
    """Writes `<class>/<name>`; see `Sink`.

    Untouched files are copied with times and permissions, links followed. A sample that moves to another class or
    becomes PNG gets "-1", "-2" ... before its extension if its name is one that the source has there, also if only in
    another case. Folders without images are there as well.
    """

    kind = "folder"

    def __init__(self, folder: Path, source: Source) -> None:
        super().__init__(folder, source)
        self.outputs = []
        self._partial = folder / RUN_FOLDER / "partial"
        self._names: dict[int, Names] = {}
        self._labels = np.fromiter((sample.label for sample in source.samples), np.int32, len(source.samples))
        if isinstance(source, FolderSource):
            folders = [unescape(path) for path in source.folders]
            self._classes = [unescape(name) for name in source.classes]
        else:
            folders = self._classes = [file_name(name) for name in source.classes]
        with writing(folder):
            for path in folders:
                self._refuse(path)
                (folder / path).mkdir(parents=True, exist_ok=True)

    def write(self, index: int, decision: Decision) -> str:
        sample, data = self.source.samples[index], decision.data
        file = self.source.path(index) if isinstance(self.source, FolderSource) else None
        old = unescape(sample.name) if file else sample.name
        if data is None and not file:
            with reading_again(sample.id):
                data = self.source.read(index)
        if data is not None and not file and not IMAGE_NAME.fullmatch(old):
            name = shortened(old, extension(data))
        else:
            name = old if decision.data is None else png_name(old)
        if (decision.label, name) != (sample.label, old):
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
            copy(file, target, self._partial)
        return escape(path)

    def _refuse(self, path: str) -> None:
        """Raise an ElixirError for what is there already, as the output was empty."""
        if os.path.lexists(self.folder / path):
            what = f"{escape(path)} would be there twice on this file system, which does not tell upper from lower case"
            raise ElixirError(f"{what}; write to one that does, or to a table with --to parquet")

    def _in_class(self, label: int) -> Names:
        """What is written to a class folder whatever is decided about the other samples."""
        names = [self.source.samples[index].name for index in np.flatnonzero(self._labels == label).tolist()]
        if not isinstance(self.source, FolderSource):
            return Names(names, [])
        start = f"{self._classes[label]}/"
        others, folders = (
            [path.removeprefix(start) for path in map(unescape, paths) if path.startswith(start)]
            for paths in (self.source.others, self.source.folders)
        )
        return Names([*map(unescape, names), *others], folders)


def _is_image(path: str, entry: os.DirEntry[str]) -> bool:
    hidden = any(part.startswith(".") for part in path.split("/"))
    if IMAGE_NAME.fullmatch(entry.name) and not hidden:
        return True
    with suppress(OSError), Path(entry.path).open("rb") as file:
        return extension(file.read(256)) != ".bin"
    return True  # it may be an image, so it is listed rather than passed on unseen
