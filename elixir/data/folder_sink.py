"""Output as a tree with one folder per class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from elixir.data.backup import FileOriginals, open_originals, write_facts
from elixir.data.folder import IMAGE_NAME, FolderSource
from elixir.data.image import extension
from elixir.data.io import RUN_FOLDER, copy, reading_again, replacing, writing
from elixir.data.paths import Names, escape, file_name, png_name, shortened, unescape
from elixir.data.sink import Decision
from elixir.data.source import Source
from elixir.errors import ElixirError


class FolderSink:
    """Writes `<class>/<name>`; see `Sink`.

    Untouched files are copied with times and permissions, links followed. A sample that moves to another class or
    becomes PNG gets "-1", "-2" ... before its extension if its name is one that the source has there, also if only in
    another case. Folders without images and files that are no samples are copied as well.
    """

    def __init__(self, folder: Path, source: Source) -> None:
        self.folder = folder
        self.source = source
        self._originals = open_originals(folder, source, columns=True)
        self.uncopied = self._originals.uncopied
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
        """See `Sink.write`."""
        self._originals.keep(index, decision)
        if not decision.written:
            return ""
        if isinstance(self.source, FolderSource):
            path = self._write_file(self.source, index, decision)
        else:
            path = self._write_row(index, decision)
        return escape(path)

    def original(self, index: int, decision: Decision) -> str:
        """See `Sink.original`."""
        return self._originals.place(index, decision)

    def close(self) -> None:
        """See `Sink.close`."""
        self._originals.close()
        if isinstance(self._originals, FileOriginals):
            for path in self._originals.source.others:
                self._originals.copy(path, self.folder / unescape(path))
        write_facts(self.folder, self._originals, "folder", [])

    def _write_file(self, source: FolderSource, index: int, decision: Decision) -> str:
        sample = source.samples[index]
        name = unescape(sample.name)
        if decision.data is not None:
            name = png_name(name)
        if (decision.label, name) != (sample.label, unescape(sample.name)):
            name = self._free(decision.label, name)
        path = f"{self._classes[decision.label]}/{name}"
        if decision.data is None:
            self._make_room(path)
            with reading_again(sample.id):
                source.path(index).open("rb").close()
            copy(source.path(index), self.folder / path, self._partial)
        else:
            self._write_bytes(path, decision.data)
        return path

    def _write_row(self, index: int, decision: Decision) -> str:
        sample = self.source.samples[index]
        with reading_again(sample.id):
            data = self.source.read(index) if decision.data is None else decision.data
        if decision.data is not None and IMAGE_NAME.fullmatch(sample.name):
            name = png_name(sample.name)
        elif IMAGE_NAME.fullmatch(sample.name):
            name = sample.name
        else:
            name = shortened(sample.name, extension(data))
        if (decision.label, name) != (sample.label, sample.name):
            name = self._free(decision.label, name)
        path = f"{self._classes[decision.label]}/{name}"
        self._write_bytes(path, data)
        return path

    def _write_bytes(self, path: str, data: bytes) -> None:
        self._make_room(path)
        with replacing(self.folder / path, self._partial) as partial:
            partial.write_bytes(data)

    def _make_room(self, path: str) -> None:
        with writing(self.folder / path):
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        self._refuse(path)

    def _refuse(self, path: str) -> None:
        """Raise an ElixirError for what is there already, as the output was empty."""
        if os.path.lexists(self.folder / path):
            raise ElixirError(
                f"{escape(path)} would be there twice on this file system, which does not tell upper from lower case; "
                "write to one that does, or to a table with --to parquet"
            )

    def _free(self, label: int, name: str) -> str:
        if label not in self._names:
            self._names[label] = self._in_class(label)
        return self._names[label].free(name)

    def _in_class(self, label: int) -> Names:
        """What is written to a class folder whatever is decided about the other samples."""
        names = [self.source.samples[index].name for index in np.flatnonzero(self._labels == label).tolist()]
        if not isinstance(self.source, FolderSource):
            return Names(names, [])
        start = f"{self._classes[label]}/"
        others = [unescape(path).removeprefix(start) for path in self.source.others if unescape(path).startswith(start)]
        folders = [
            unescape(path).removeprefix(start) for path in self.source.folders if unescape(path).startswith(start)
        ]
        return Names([*map(unescape, names), *others], folders)
