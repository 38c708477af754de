"""The originals of changed samples, and what else it takes to rebuild the input."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pyarrow as pa

from elixir.data.folder import FolderSource
from elixir.data.io import RUN_FOLDER, copy, empty_folder, replace_text, writing
from elixir.data.paths import unescape
from elixir.data.rows import ParquetRows
from elixir.data.sink import Decision
from elixir.data.source import Kind, Source
from elixir.data.table_writer import ParquetWriter, numbered, with_image
from elixir.data.tables import TableSource

ORIGINALS, QUARANTINE, COLUMNS = "originals", "quarantine", "columns"


def open_originals(folder: Path, source: Source, columns: bool) -> FileOriginals | RowOriginals:
    """Prepare an empty output folder; originals kept there by an earlier attempt are removed.

    Args:
        folder: the output.
        source: what it is made from.
        columns: for a table, whether untouched rows have more in them than the output can hold.
    """
    empty_folder(folder)
    run = folder / RUN_FOLDER
    with writing(run):
        run.mkdir(exist_ok=True)
        for name in (ORIGINALS, QUARANTINE):
            shutil.rmtree(run / name, ignore_errors=True)
    if isinstance(source, FolderSource):
        return FileOriginals(folder, source)
    if isinstance(source, TableSource):
        return RowOriginals(folder, source, columns)
    raise TypeError(f"{type(source).__name__} was not made by open_source")


def write_facts(
    folder: Path, originals: FileOriginals | RowOriginals, sink: Kind, outputs: list[tuple[str, str]]
) -> None:
    """Write `.elixir/restore.json`: what it takes to rebuild the source, apart from its samples.

    Args:
        folder: the output.
        originals: of the source.
        sink: kind of the output.
        outputs: for a table, stem of the output's row names and path of the file or dataset folder, for each part.
    """
    facts: dict[str, Any] = {"sink": sink, "kind": originals.source.kind}
    facts |= {"outputs": outputs, "uncopied": originals.uncopied}
    if isinstance(originals, FileOriginals):
        facts |= {"folders": originals.source.folders, "others": originals.source.others}
    else:
        source = originals.source
        chosen, *copies = table_files(source).values() or [{}]
        facts |= {
            "schema": base64.b64encode(source.rows.schema.serialize()).decode(),
            "image": source.image,
            "about": source.about,
            "split": source.split,
            "siblings": None if source.siblings is None else list(source.siblings),
            "parts": source.rows.parts,
            "files": [str(path) for path in chosen],
            "copies": [str(path) for files in copies for path in files],
            "columns": originals.columns,
        }
    replace_text(folder / RUN_FOLDER / "restore.json", json.dumps(facts, indent=1))


def table_files(source: TableSource) -> dict[str, dict[Path, Path]]:
    """Parquet files by split, the chosen one first: path in the output and the file itself."""
    if not isinstance(source.rows, ParquetRows):
        return {}
    splits = {source.split: source.rows.files, **(source.siblings or {})}
    common = os.path.commonpath([file.parent for files in splits.values() for file in files])
    return {split: {file.relative_to(common): file for file in files} for split, files in splits.items()}


class FileOriginals:
    """Originals of a folder, as files of the same path; a link that cannot be followed is kept as a link.

    Attributes:
        uncopied: ids of samples, and paths of other files, whose bytes could not be read.
    """

    def __init__(self, folder: Path, source: FolderSource) -> None:
        self.folder = folder
        self.source = source
        self.uncopied: list[str] = []

    def keep(self, index: int, decision: Decision) -> None:
        """Keep one sample as it was, if the decision changes it."""
        sample = self.source.samples[index]
        if decision.action == "kept":
            return
        target = self.folder / RUN_FOLDER / _kept_in(decision) / unescape(sample.id)
        source = self.source.path(index)
        if sample.problem and source.is_symlink():
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source.readlink())
        else:
            self.copy(sample.id, target)

    def copy(self, path: str, target: Path) -> None:
        """Copy any file of the source, given by its escaped path, or note that it cannot be read."""
        source = self.source.root / unescape(path)
        if not _is_readable_file(source):
            self.uncopied.append(path)
            return
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        copy(source, target, self.folder / RUN_FOLDER / "partial")

    def place(self, index: int, decision: Decision) -> str:
        """See `Sink.original`."""
        id = self.source.samples[index].id
        if decision.action == "kept" or id in self.uncopied:
            return ""
        return f"{RUN_FOLDER}/{_kept_in(decision)}/{id}"

    def close(self) -> None:
        """Nothing is left to do."""


class RowOriginals:
    """Originals of a table, as rows of the same columns and one more with their number.

    Args:
        folder: the output.
        source: the table.
        columns: also keep untouched rows, without their images.
    """

    def __init__(self, folder: Path, source: TableSource, columns: bool) -> None:
        self.source = source
        self.columns = columns
        self.uncopied: list[str] = []
        schema = numbered(source.rows.schema)
        self._number = schema.names[-1]
        parts = (ORIGINALS, QUARANTINE, COLUMNS) if columns else (ORIGINALS, QUARANTINE)
        self._writers = {part: ParquetWriter(folder / RUN_FOLDER / f"{part}.parquet", schema) for part in parts}

    def keep(self, index: int, decision: Decision) -> None:
        """Keep one sample as it was, if the decision changes it."""
        if decision.action != "kept":
            self._add(_kept_in(decision), index, self.source.rows.row(index))
        elif self.columns:
            self._add(COLUMNS, index, with_image(self.source.rows.row(index), self.source.image, None))

    def place(self, index: int, decision: Decision) -> str:
        """See `Sink.original`."""
        return "" if decision.action == "kept" else f"{RUN_FOLDER}/{_kept_in(decision)}.parquet"

    def close(self) -> None:
        """Finish the files."""
        for writer in self._writers.values():
            writer.close()

    def _add(self, part: str, index: int, row: pa.Table) -> None:
        self._writers[part].add(row.append_column(self._number, [[index]]))


def _kept_in(decision: Decision) -> str:
    return QUARANTINE if decision.action == "quarantined" else ORIGINALS


def _is_readable_file(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        path.open("rb").close()
    except OSError:
        return False
    return True
