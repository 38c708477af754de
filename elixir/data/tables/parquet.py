"""Parquet files: rows read a few at a time, rows written in batches, and a dataset of them as a source."""

import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, repeat
from pathlib import Path
from typing import Any, Self

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.utils.py_utils import convert_file_size_to_int

from elixir.data.io import replacing, writing
from elixir.data.paths import escape
from elixir.data.tables.features import features
from elixir.data.tables.find_columns import has_field
from elixir.data.tables.schema import conformed
from elixir.data.tables.table import Choice, FileRows, RowWriter, TableSource, struct_field
from elixir.errors import ElixirError, explaining

BLOCK = 64  # rows that are decoded at once
DECODED = 1 << 28  # bytes of them, as far as the file tells
ROW = "elixir_row"  # column with the number of a row in the source, where not all rows are kept

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""What files and folders of the splits that `datasets` knows are called."""
SPLIT = re.compile(rf"(?<![a-z])({'|'.join(name for names in SPLIT_NAMES.values() for name in names)})(?![a-z])")
_SHARD = re.compile(r"data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}.*")  # how `push_to_hub` names the files of any split


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

    def __getstate__(self) -> dict[str, Any]:
        """Without what is open: a copy, perhaps in another process, opens the files itself."""
        state = {name: value for name, value in vars(self).items() if name != "_opened"}
        return state | {"_group": -1, "_file": -1, "_blocks": iter(()), "_block": self.schema.empty_table()}

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


@dataclass
class ParquetFiles:
    """Parquet files of one dataset, and what lies beside them.

    Attributes:
        root: folder that everything is in.
        splits: the parquet files of each split.
        others: paths of other files that belong to the dataset, relative to the root, escaped as ids are.
        notes: see `Source`.
    """

    root: Path
    splits: dict[str, list[Path]]
    others: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def by_name(cls, files: list[Path], root: Path | None = None) -> Self:
        """See `files_by_name`; `root` is the innermost by default."""
        root = root or Path(os.path.commonpath([file.parent for file in files]))
        return cls(root, files_by_name(files, root))


def files_by_name(files: list[Path], root: Path) -> dict[str, list[Path]]:
    """The files of each split that their paths below `root` tell, "train" where they tell none.

    Raises: ElixirError: some files are named after the split "train" and others after none.
    """
    told = {file: split_by_name(str(file.relative_to(root))) for file in files}
    if "train" in told.values() and (silent := [file for file, split in told.items() if split is None]):
        what = f"{escape(str(silent[0]))} lies beside files of the split 'train' and names none"
        raise ElixirError(f"{what}; give the files that are meant, with a pattern, or name it after its split")
    splits: dict[str, list[Path]] = {}
    for file, split in told.items():
        splits.setdefault(split or "train", []).append(file)
    return splits


def stems(files: list[Path]) -> list[str]:
    """What files are called in the ids of samples: no two have one stem."""
    names = [escape(file.stem) for file in files]
    if len(set(names)) < len(names):
        common = os.path.commonpath([file.parent for file in files])
        names = [escape(str(file.relative_to(common).with_suffix(""))) for file in files]
    return names


def split_by_name(path: str) -> str | None:
    """The split that the name of a parquet file tells, or else that of a folder above it; None if neither does."""
    if shard := _SHARD.fullmatch(path):
        return shard[1]
    *folders, name = path.lower().split("/")
    stem = name.rpartition(".")[0]
    found = next(filter(None, (SPLIT.search(stem), *map(SPLIT.fullmatch, folders))), None)
    return found[1] if found else None


def usual_name(split: str) -> str:
    """What `datasets` calls a split of which a file name is all that is known."""
    return next((usual for usual, names in SPLIT_NAMES.items() if split in names), split)


@dataclass
class ParquetSource(TableSource):
    """A split of parquet files; `others` are the paths of what lies beside them below `root`, see `ParquetFiles`."""

    root: Path = Path()
    others: list[str] = field(default_factory=list)


def open_parquet(found: ParquetFiles, choice: Choice, location: str) -> ParquetSource:
    """Parquet files; where there are several splits, those of one."""
    splits = dict(found.splits)
    split = next(iter(splits))
    if len(splits) > 1 or choice.split:
        split = choice.split_of(list(splits), location)
    chosen = splits.pop(split)
    for others in splits.values():  # they are going to be copied, and a link may lead to anything
        ParquetRows(others, [file.stem for file in others])
    rows = ParquetRows(chosen, stems(chosen))
    source = ParquetSource.of(rows, "parquet", escape(location), choice, split, splits or None)
    source.root, source.others = found.root, found.others
    source.notes += found.notes
    return source


def files_by_split(source: TableSource) -> dict[str, dict[Path, Path]]:
    """Parquet files by split, the chosen one first: path in the output and the file itself."""
    if not isinstance(source, ParquetSource) or not isinstance(source.rows, ParquetRows):
        return {}
    splits = {source.split: source.rows.files, **(source.siblings or {})}
    return {split: {file.relative_to(source.root): file for file in files} for split, files in splits.items()}


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


class ShardWriter:
    """Parquet files `<split>-00000.parquet` ... in a folder, each of at most `most` bytes of rows or else of one row.

    Without `most` it is a single `<split>-00000-of-00001.parquet`.

    Attributes:
        paths: the files.
    """

    def __init__(self, folder: Path, split: str, schema: pa.Schema, most: int | None) -> None:
        self.paths: list[Path] = []
        self._folder, self._split, self._schema, self._most = folder, split, schema, most
        self._start()

    def add(self, row: pa.Table) -> str:
        """Add a table of one row and say where it is: "<stem of the file>/<8-digit row>"."""
        if self._most and self._writer.count and self._size + row.nbytes > self._most:
            self.close()
            self._start()
        self._writer.add(row)
        self._size += row.nbytes
        return f"{self.paths[-1].stem}/{self._writer.count - 1:08d}"

    def close(self) -> None:
        """Finish the last file."""
        self._writer.close()

    def _start(self) -> None:
        number = f"{len(self.paths):05d}" if self._most else "00000-of-00001"
        self.paths.append(self._folder / f"{self._split}-{number}.parquet")
        self._writer, self._size = ParquetWriter(self.paths[-1], self._schema), 0


def shard_bytes(size: int | str) -> int:
    """A size such as 500000000, "500MB" or "1GB" in bytes. Raises: ElixirError: it is none."""
    size = int(size) if isinstance(size, str) and size.isdecimal() else size
    with explaining(ValueError, f"{size!r} is no size of a file", 'give bytes, or "500MB" or "1GB"'):
        given = convert_file_size_to_int(size)
        if given < 1:
            raise ValueError("it must be at least one byte")
    return given


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
