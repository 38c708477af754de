"""Output as a table: a Hugging Face dataset on disk, or parquet files."""

from __future__ import annotations

import json
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import datasets
import pyarrow as pa

from elixir.data.backup import ORIGINALS, FileOriginals, open_originals, table_files, write_facts
from elixir.data.io import RUN_FOLDER, copy, reading_again, writing
from elixir.data.paths import unescape
from elixir.data.rows import features
from elixir.data.sink import Decision
from elixir.data.source import Source
from elixir.data.table_writer import ArrowWriter, ParquetWriter, TableWriter, conform, with_image, with_value
from elixir.data.tables import TableSource
from elixir.data.told_columns import told_columns
from elixir.errors import ElixirError


class TableSink:
    """What the two kinds of table have in common; see `Sink`.

    A table has the columns of the source table, or image (bytes and path) and label (ClassLabel) for a folder. Where a
    label changes, columns that say the same (see `told_columns`) change with it.

    Attributes:
        outputs: stem of the row names, and path below the folder, of each part.
    """

    kind: Literal["hf", "parquet"]
    outputs: list[tuple[str, str]]

    def __init__(self, folder: Path, source: Source) -> None:
        self.folder = folder
        self.source = source
        self._index = -1
        if isinstance(source, TableSource):
            self.schema, self.image, self.label, self._values = (
                source.rows.schema,
                source.image,
                source.label,
                source.values,
            )
        else:
            classes = datasets.ClassLabel(names=source.classes)
            self.schema = datasets.Features({"image": datasets.Image(), "label": classes}).arrow_schema
            self.image, self.label, self._values = "image", "label", list(range(len(source.classes)))
        given, self.schema = self.schema, self.stored(self.schema)
        self._originals = open_originals(folder, source, columns=given.types != self.schema.types)
        self.uncopied = self._originals.uncopied

    def stored(self, schema: pa.Schema) -> pa.Schema:
        """The columns of the output for those of the source."""
        return schema

    def write(self, index: int, decision: Decision) -> str:
        """See `Sink.write`."""
        if index <= self._index:
            raise ValueError("samples must be written in ascending order")
        self._index = index
        self._originals.keep(index, decision)
        if not decision.written:
            return ""
        row = self._row(index)
        if decision.data is not None:
            row = with_image(row, self.image, decision.data, ".png")
        if decision.label != self.source.samples[index].label:
            row = with_value(row, self.label, self._values[decision.label])
            for column, values in self._told.items():
                if decision.label in values:
                    row = with_value(row, column, values[decision.label])
        return self.add(index, conform(row, self.schema, self.image))

    def original(self, index: int, decision: Decision) -> str:
        """See `Sink.original`."""
        return self._originals.place(index, decision)

    def add(self, index: int, row: pa.Table) -> str:
        """Write one row and say where it is."""
        raise NotImplementedError

    def close(self) -> None:
        """See `Sink.close`."""
        self._originals.close()
        if isinstance(self._originals, FileOriginals):
            for path in self._originals.source.others:
                self._originals.copy(path, self.folder / RUN_FOLDER / ORIGINALS / unescape(path))
        write_facts(self.folder, self._originals, self.kind, self.outputs)

    @cached_property
    def _told(self) -> dict[str, dict[int, Any]]:
        return told_columns(self.source) if isinstance(self.source, TableSource) else {}

    def _row(self, index: int) -> pa.Table:
        if isinstance(self.source, TableSource):
            return self.source.rows.row(index)
        sample = self.source.samples[index]
        with reading_again(sample.id):
            data = self.source.read(index)
        return pa.Table.from_pylist(
            [{"image": {"bytes": data, "path": sample.name}, "label": sample.label}], self.schema
        )


class HfSink(TableSink):
    """Writes what `save_to_disk` writes; the other splits of the source are copied as they are."""

    kind = "hf"

    def __init__(self, folder: Path, source: Source) -> None:
        super().__init__(folder, source)
        self._siblings: dict[str, Any] | None = None
        self._split, about = "train", {}
        if isinstance(source, TableSource) and source.kind == "hf":
            self._siblings, self._split, about = source.siblings, source.split, source.about
        place = folder if self._siblings is None else folder / self._split
        self._writer = ArrowWriter(place, self.schema, self._split, about)
        self.outputs = [(self._split, "" if self._siblings is None else self._split)]
        self._count = 0

    def stored(self, schema: pa.Schema) -> pa.Schema:
        """See `TableSink.stored`: the image column becomes one that `datasets` decodes."""
        known = features(schema)
        if not known:
            what = f"{self.source.location} has a column of a type that a Hugging Face dataset cannot hold"
            raise ElixirError(f"{what}; use --to parquet or --to folder")
        if isinstance(known[self.image], datasets.Image):
            return schema
        known[self.image] = datasets.Image()
        return known.arrow_schema

    def add(self, index: int, row: pa.Table) -> str:
        """See `TableSink.add`."""
        self._writer.add(row)
        self._count += 1
        return f"{self._split}/{self._count - 1:08d}"

    def close(self) -> None:
        """See `Sink.close`."""
        self._writer.close()
        if self._siblings is not None:
            write_siblings(self.folder, self._split, self._siblings)
        super().close()


class ParquetSink(TableSink):
    """Writes one file for each parquet file of the source, or a single one; other splits are copied as they are."""

    kind = "parquet"

    def __init__(self, folder: Path, source: Source) -> None:
        super().__init__(folder, source)
        self._copies: dict[Path, Path] = {}
        self._parts: list[tuple[str, int, Path]] = []
        if isinstance(source, TableSource) and source.kind == "parquet":
            chosen, *siblings = table_files(source).values()
            self._copies = {path: file for files in siblings for path, file in files.items()}
            self._parts = [(*part, path) for part, path in zip(source.rows.parts, chosen, strict=True)]
        else:
            split = source.split if isinstance(source, TableSource) else "train"
            path = Path(f"{split}-00000-of-00001.parquet")
            self._parts = [(path.stem, len(source.samples), path)]
        self.outputs = [(stem, str(path)) for stem, _, path in self._parts]
        self._part, self._end, self._count = -1, 0, 0
        self._writer: TableWriter | None = None

    def add(self, index: int, row: pa.Table) -> str:
        """See `TableSink.add`."""
        while index >= self._end:
            self._next_part()
        if self._writer:
            self._writer.add(row)
        self._count += 1
        return f"{self._parts[self._part][0]}/{self._count - 1:08d}"

    def close(self) -> None:
        """See `Sink.close`."""
        while self._part < len(self._parts) - 1:
            self._next_part()
        if self._writer:
            self._writer.close()
        for path, file in self._copies.items():
            with writing(self.folder / path):
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            copy(file, self.folder / path, self.folder / RUN_FOLDER / "partial")
        super().close()

    def _next_part(self) -> None:
        if self._writer:
            self._writer.close()
        self._part += 1
        _, length, path = self._parts[self._part]
        self._end += length
        self._count = 0
        self._writer = ParquetWriter(self.folder / path, self.schema)


def write_siblings(folder: Path, split: str, siblings: dict[str, Any]) -> None:
    """Put the other splits of a `DatasetDict` next to the one that was written."""
    for name, sibling in siblings.items():
        with writing(folder / name):
            if isinstance(sibling, Path):
                shutil.copytree(sibling, folder / name, dirs_exist_ok=True)
            else:
                shown = not datasets.are_progress_bars_disabled()
                datasets.disable_progress_bars()
                sibling.save_to_disk(str(folder / name))
                if shown:
                    datasets.enable_progress_bars()
    with writing(folder):
        listing = json.dumps({"splits": [split, *siblings]})
        (folder / "dataset_dict.json").write_text(listing, "utf-8")
