"""Parquet files: rows read a few at a time, rows written in batches, and a dataset of them as source and as sink."""

import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, repeat
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from elixir.data.features import features
from elixir.data.find_columns import has_field
from elixir.data.io import RUN_FOLDER, copy, replacing, writing
from elixir.data.paths import escape
from elixir.data.schema import conformed
from elixir.data.source import Source
from elixir.data.table import Choice, FileRows, RowWriter, TableSink, TableSource, struct_field
from elixir.errors import ElixirError, explaining

BLOCK = 64  # rows that are decoded at once
DECODED = 1 << 28  # bytes of them, as far as the file tells
ROW = "elixir_row"  # column with the number of a row in the source, where not all rows are kept

_SPLIT = re.compile(r"(?<![a-z])(train|test|validation|valid|val|dev|eval)(?![a-z])")


class ParquetRows(FileRows):
    """Parquet files of one dataset, decoded by blocks of rows; an ElixirError if one is damaged or has other columns.

    Going back within a row group decodes it from its start again, so read in ascending order.
    """

    def __init__(self, files: list[Path], stems: list[str]) -> None:
        super().__init__(files, {})
        self.parts: list[tuple[str, int]] = []
        self._groups: list[tuple[int, int, int]] = []  # file, row group in it, rows to decode at once
        schemas, sizes = [], [0]
        for number, (file, stem) in enumerate(zip(files, stems, strict=True)):
            with _open_parquet(file) as opened:
                schema, meta = opened.schema_arrow, opened.metadata
            schemas.append(schema)
            self.parts.append((stem, meta.num_rows))
            for group in range(meta.num_row_groups):
                about = meta.row_group(group)
                # One value may stand for all rows, so each may be as large as all that is stored.
                block = min(BLOCK, max(1, DECODED // max(1, about.total_byte_size)))
                self._groups.append((number, group, block))
                sizes.append(about.num_rows)
        self._starts = list(accumulate(sizes))
        self._group, self._file, self._blocks = -1, -1, iter(())
        self._unify(schemas)
        self._block, self._first = self.schema.empty_table(), 0

    def row(self, index: int) -> pa.Table:
        group = bisect_right(self._starts, index) - 1
        if group != self._group or index < self._first:
            number, within, block = self._groups[group]
            if number != self._file:
                self._opened = _open_parquet(self.files[number])
            self._blocks = self._opened.iter_batches(block, row_groups=[within])
            self._group, self._file = group, number
            self._block, self._first = self.schema.empty_table(), self._starts[group]
        while index >= self._first + len(self._block):
            self._first += len(self._block)
            self._block = self._next(index)
        return self._block.slice(index - self._first, 1)

    def column(self, name: str, field: str = "") -> Iterator[pa.Array]:
        for file in self.files:
            what = f"{file} is damaged in its column {name!r}"
            with _open_parquet(file) as opened, explaining((pa.ArrowException, OSError), what):
                if field and not has_field(opened.schema_arrow.field(name).type, field):
                    yield self._in_type(pa.nulls(opened.metadata.num_rows), name, field, file)
                    continue
                for batch in opened.iter_batches(4096, columns=[f"{name}.{field}" if field else name]):
                    batch.validate(full=True)  # text need not be UTF-8 in parquet
                    yield self._in_type(struct_field(batch.column(name), field), name, field, file)

    def _next(self, index: int) -> pa.Table:
        try:
            return conformed(next(self._blocks), self.schema)
        except (pa.ArrowException, OSError, StopIteration) as error:
            self._group = -1
            raise ElixirError(f"{self.files[self._file]} is damaged at row {index} of the dataset: {error}") from error


def _open_parquet(file: Path) -> pq.ParquetFile:
    with explaining((OSError, pa.ArrowException, UnicodeError), f"{file} cannot be read as parquet", "check the file"):
        # Without the buffer a whole column of a row group, that is all its images, is read at once.
        return pq.ParquetFile(pa.OSFile(os.fsencode(file)), buffer_size=1 << 20, pre_buffer=False)


def open_parquet(files: list[Path], choice: Choice, location: str) -> TableSource:
    """Parquet files; if their names, or else those of their folders, tell several splits, those of one split."""
    splits: dict[str, list[Path]] = {}
    common = os.path.commonpath([file.parent for file in files])
    for file in files:
        folders = [_SPLIT.fullmatch(name.lower()) for name in file.parent.relative_to(common).parts]
        found = next(filter(None, (_SPLIT.search(file.stem.lower()), *folders)), None)
        splits.setdefault(found[1] if found else "train", []).append(file)
    split = next(iter(splits))
    if len(splits) > 1 or choice.split:
        split = choice.split_of(list(splits), location)
    chosen = splits.pop(split)
    for others in splits.values():  # they are going to be copied, and a link may lead to anything
        ParquetRows(others, [file.stem for file in others])
    stems = [escape(file.stem) for file in chosen]
    if len(set(stems)) < len(stems):
        common = os.path.commonpath([file.parent for file in chosen])
        stems = [escape(str(file.relative_to(common).with_suffix(""))) for file in chosen]
    return TableSource.of(ParquetRows(chosen, stems), "parquet", escape(location), choice, split, splits or None)


def files_by_split(source: TableSource) -> dict[str, dict[Path, Path]]:
    """Parquet files by split, the chosen one first: path in the output and the file itself."""
    if not isinstance(source.rows, ParquetRows):
        return {}
    splits = {source.split: source.rows.files, **(source.siblings or {})}
    common = os.path.commonpath([file.parent for files in splits.values() for file in files])
    return {split: {file.relative_to(common): file for file in files} for split, files in splits.items()}


class ParquetWriter(RowWriter):
    """One parquet file; it has its name only when closed."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(schema)
        self.path = path
        self._partial = path.with_name(f"{path.stem[:200]}.partial")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with explaining(pa.ArrowException, "the table has a column that parquet cannot hold", "leave it out"):
                self._writer = pq.ParquetWriter(self._partial, schema)

    def close(self) -> None:
        super().close()
        with replacing(self.path, self._partial):
            self._writer.close()

    def _write(self, table: pa.Table) -> None:
        with writing(self.path):
            self._writer.write_table(table)


def writers_by_row(parts: Iterable[tuple[str, int, Path]], schema: pa.Schema) -> Iterator[tuple[str, ParquetWriter]]:
    """Stem and writer of every row of some parts (stem, rows, file), in order; exhaust it to finish the files."""
    for stem, count, path in parts:
        writer = ParquetWriter(path, schema)
        yield from repeat((stem, writer), count)
        writer.close()


def numbered(schema: pa.Schema) -> pa.Schema:
    """The schema with a last column `ROW`, or one like it if there is one, in the features of `datasets` too."""
    name = ROW
    while name in schema.names:
        name += "_"
    longer = schema.append(pa.field(name, pa.int64()))
    known = features(schema)
    if not known:
        return longer
    known[name] = datasets.Value("int64")
    return longer.with_metadata({**(schema.metadata or {}), **known.arrow_schema.metadata})


class ParquetSink(TableSink):
    """Writes one file for each parquet file of the source, or a single one; other splits are copied as they are."""

    kind = "parquet"

    def __init__(self, folder: Path, source: Source) -> None:
        super().__init__(folder, source)
        self._copies: dict[Path, Path] = {}
        if isinstance(source, TableSource) and source.kind == "parquet":
            chosen, *siblings = files_by_split(source).values()
            self._copies = {path: file for files in siblings for path, file in files.items()}
            parts = [(*part, path) for part, path in zip(source.rows.parts, chosen, strict=True)]
        else:
            split = source.split if isinstance(source, TableSource) else "train"
            path = Path(f"{split}-00000-of-00001.parquet")
            parts = [(path.stem, len(source.samples), path)]
        self.outputs = [(stem, str(path)) for stem, _, path in parts]
        files = ((stem, count, folder / path) for stem, count, path in parts)
        self._writers = enumerate(writers_by_row(files, self.schema))

    def close(self) -> None:
        for _ in self._writers:
            pass
        for path, file in self._copies.items():
            copy(file, self.folder / path, self.folder / RUN_FOLDER / "partial")

    def _add(self, index: int, row: pa.Table) -> str:
        stem, writer = next(found for number, found in self._writers if number == index)
        writer.add(row)
        return f"{stem}/{writer.count - 1:08d}"
