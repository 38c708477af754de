"""Labelled images in tables: which columns hold them, and what all kinds of table have in common."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, Self

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elixir.data.io import reading_again
from elixir.data.paths import file_name, name_key
from elixir.data.sink import Decision, Sink
from elixir.data.source import Kind, Samples, Source
from elixir.data.tables.features import described, ignored_description
from elixir.data.tables.find_columns import has_field, holds_bytes, image_column, label_columns, unseen_columns
from elixir.data.tables.labels import ROWS_A_CLASS, Labels, NoLabels, class_of, holds_labels, plain_values, read_labels
from elixir.data.tables.schema import changed_columns, unified
from elixir.errors import ElixirError, UnreadableSample, explaining

SPLIT_NAMES = frozenset(("split", "subset", "partition"))
"""Columns that may tell the splits of a table."""
BATCH_ROWS = 1000  # rows that are written together
BATCH_BYTES = 16 << 20  # bytes of rows after which fewer are


class Rows(Protocol):
    """A table that is read row by row; fastest in ascending order.

    Attributes:
        schema: with the features of `datasets` in its metadata where there are any.
        parts: stem for sample ids and number of rows of each part, in order.
        about: what a Hugging Face dataset tells of itself (see `hf.ABOUT`).
    """

    schema: pa.Schema
    parts: list[tuple[str, int]]
    about: dict[str, str]

    def row(self, index: int) -> pa.Table:
        """One row, as a table of length 1."""
        ...

    def column(self, name: str, field: str = "") -> Iterator[pa.Array]:
        """All values of a column, or of a field of it, piece by piece."""
        ...

    def fingerprint(self) -> str:
        """Hexadecimal digest that changes with the table."""
        ...


@dataclass(frozen=True)
class Choice:
    """Which columns and split the user named, None where they are to be detected, and the split usually taken."""

    image: str | None = None
    label: str | None = None
    split: str | None = None
    usual: str = "train"

    def split_of(self, splits: list[str], location: str) -> str:
        """The split that is named, or the usual one. Raises: ElixirError: there is no such split."""
        split = self.split or (self.usual if len(splits) != 1 else splits[0])
        if split not in splits:
            remedy = "name one with --split, or give it alone"
            raise ElixirError(f"{location} has no split {split!r} but {', '.join(splits)}; {remedy}")
        return split


@dataclass
class TableSource:
    """A table with an image and a label column.

    Attributes:
        kind: "parquet", or "hf" for everything that `save_to_disk` keeps best.
        image: name of the image column: struct of bytes and path, or binary.
        label: name of the label column: class index, whole number, string or boolean.
        split: name of the split that `rows` is.
        siblings: the dataset's other splits by name, not to be touched: a folder, parquet files or a dataset each;
            None when the dataset is not one of splits.
        values: what the label column holds for each class.
    """

    kind: Kind
    location: str
    rows: Rows
    image: str
    label: str
    split: str = "train"
    siblings: dict[str, Any] | None = None
    classes: list[str] = field(init=False)
    values: list[Any] = field(init=False)
    notes: list[str] = field(init=False, default_factory=list)
    samples: Samples = field(init=False)

    def __post_init__(self) -> None:
        labels = _labels(self.rows, self.label, self.location)
        self.classes, self.values = labels.classes, labels.values
        if not len(labels.indices):
            raise ElixirError(f"{self.location} has no rows; check that this is the right dataset")
        for name in self.classes:
            if re.search("[\ud800-\udfff]", name):
                where = f"column {self.label!r} of {self.location}"
                raise ElixirError(f"{where} has the class name {name[:80]!r}, which is no valid text; rename it")
        self.samples = TableSamples(self.rows.parts, labels.indices, _names(self.rows, self.image, labels.indices))
        self.notes = [*ignored_description(self.rows.schema), *labels.notes]
        for name in unseen_columns(self.rows.schema, self.image):
            self.notes.append(f"column {name!r} holds encoded data too, which is not looked at")
        for name in sorted(SPLIT_NAMES & {*self.rows.schema.names} - {self.label}):
            self.notes.append(f"column {name!r} may tell splits; all rows are read, whatever it says")

    @classmethod
    def of(
        cls, rows: Rows, kind: Kind, location: str, choice: Choice, split: str = "train", siblings: Any = None
    ) -> Self:
        """A table with the columns that are named, or can be told. Raises: ElixirError: they are not there."""
        known = described(rows.schema)
        image = image_column(rows.schema, known, choice.image, location)
        candidates = label_columns(rows.schema, known, choice.label, location)
        label = _first_of_classes(rows, candidates, location)
        source = cls(kind, location, rows, image, label, split, siblings)
        if label != candidates[0]:
            source.notes.append(f"column {label!r} is taken for the labels, as {candidates[0]!r} holds no classes")
        return source

    def read(self, index: int) -> bytes:
        data = self.rows.row(index).column(self.image)[0].as_py()
        path = None
        if isinstance(data, dict):
            data, path = data.get("bytes"), data.get("path")
        if data is None:
            named = "but the name of a file: save it again with datasets, which stores the images"
            raise UnreadableSample(f"no image is stored{f' {named}' if path else ''}")
        return data

    def fingerprint(self) -> str:
        return self.rows.fingerprint()


class TableSamples(Samples):
    """The samples of a table, from its parts (see `Rows`), labels (n,) or -1, and file names (n,) or null."""

    def __init__(self, parts: list[tuple[str, int]], labels: np.ndarray, names: pa.Array) -> None:
        super().__init__(labels)
        self._stems = [stem for stem, _ in parts]
        self._starts = np.cumsum([0, *(count for _, count in parts)])
        self._names = names

    def id(self, index: int) -> str:
        part = int(np.searchsorted(self._starts, index, "right")) - 1
        return f"{self._stems[part]}/{index - self._starts[part]:08d}"

    def name(self, index: int) -> str:
        return self._names[index].as_py() or f"{index:08d}"


def _labels(rows: Rows, column: str, location: str) -> Labels:
    return read_labels(rows.column(column), described(rows.schema).get(column), column, location)


def _first_of_classes(rows: Rows, columns: list[str], location: str) -> str:
    """The first column that holds classes, or else the very first."""
    for column in columns if len(columns) > 1 else ():
        with suppress(NoLabels):
            _labels(rows, column, location)
            return column
    return columns[0]


def _names(rows: Rows, image: str, labels: np.ndarray) -> pa.Array:
    """The base names of the original files, null where there is none or a class has it twice."""
    if not has_paths(rows, image):
        return pa.nulls(len(labels), pa.string())
    named = zip(labels.tolist(), chain.from_iterable(_base_names(rows, image)), strict=True)
    keys = np.fromiter((name_key(f"{label}/{name}") if name else 0 for label, name in named), np.uint64, len(labels))
    ordered = np.sort(keys)
    twice = np.isin(keys, ordered[1:][ordered[1:] == ordered[:-1]])
    pieces, start = [pa.array([], pa.large_string())], 0
    for names in _base_names(rows, image):
        hidden = twice[start : start + len(names)]
        pieces.append(pa.array(names, pa.large_string(), mask=hidden | (keys[start : start + len(names)] == 0)))
        start += len(names)
    return pa.concat_arrays(pieces)


def has_paths(rows: Rows, image: str) -> bool:
    """Whether the image column has the paths of files beside the bytes."""
    return has_field(rows.schema.field(image).type, "path")


def _base_names(rows: Rows, image: str) -> Iterator[list[str | None]]:
    """Piece by piece."""
    for piece in rows.column(image, "path"):
        bases = [
            path.partition("::")[0].rpartition("/")[2] if isinstance(path, str) else "" for path in piece.to_pylist()
        ]
        yield [file_name(base) if base else None for base in bases]


def label_dependent_columns(source: TableSource) -> dict[str, dict[int, Any]]:
    """The columns that say the same as the label, such as the name of a class: the value (may be null) of each label.

    A column is one of them if all rows of a label hold one value. There are none where labels have fewer than two rows
    on average, because any column of unique values would be one then.
    """
    labels = source.samples.labels
    labelled = labels[labels >= 0]
    if len(labelled) < ROWS_A_CLASS * len(np.unique(labelled)):
        return {}
    dependent = {}
    for column in source.rows.schema:
        if column.name != source.label and holds_labels(column.type):
            with suppress(ElixirError, UnicodeDecodeError):  # text that is no UTF-8 is copied, whatever it says
                if values := _values_by_label(source.rows, column.name, labels):
                    dependent[column.name] = values
    return dependent


def _values_by_label(rows: Rows, column: str, labels: np.ndarray) -> dict[int, Any] | None:
    """The value of each label, None if a label has several. Raises: NoLabels: the column holds none."""
    values: dict[int, Any] = {}
    start = 0
    for piece in rows.column(column):
        pairs = pa.table({"label": labels[start : start + len(piece)], "value": plain_values(piece)})
        start += len(piece)
        for pair in pairs.group_by(["label", "value"]).aggregate([]).to_pylist():
            class_of(pair["value"], column)
            if pair["label"] >= 0 and values.setdefault(pair["label"], pair["value"]) != pair["value"]:
                return None
    return values


def fingerprint(files: list[Path]) -> str:
    """Hexadecimal digest of the names, sizes and modification times of files."""
    states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(states).encode("utf-8", "surrogateescape")).hexdigest()


class FileRows:
    """What the rows of files have in common; see `Rows`."""

    schema: pa.Schema

    def __init__(self, files: list[Path], about: dict[str, str]) -> None:
        self.files = files
        self.about = about

    def fingerprint(self) -> str:
        """See `Rows.fingerprint`: from the names, sizes and modification times of the files."""
        return fingerprint(self.files)

    def _unify(self, schemas: list[pa.Schema]) -> None:
        """Take one schema for all files. Raises: ElixirError: there is none, or a value does not fit in it."""
        self.schema = unified(self.files, schemas)
        for name in changed_columns(self.schema, schemas):
            if not holds_bytes(self.schema.field(name).type):
                for _ in self.column(name):  # what does not fit is found before the work begins
                    pass

    def column(self, name: str, field: str = "") -> Iterator[pa.Array]:
        """See `Rows.column`."""
        raise NotImplementedError

    def _in_type(self, values: pa.Array, name: str, field: str, file: Path) -> pa.Array:
        """Values of a column of one file, or of a field of it, in the type that they have for all files."""
        kind = self.schema.field(name).type
        kind = kind.field(field).type if field else kind
        what = f"{file} has values in its column {name!r} that do not fit {kind}, its type in all files"
        with explaining(pa.ArrowException, what, "store it in one type"):
            return values if values.type == kind else values.cast(kind)


def struct_field(values: pa.Array, field: str) -> pa.Array:
    """A field of a column of structs, nulls if it is not there, or the column itself if none is named."""
    if not field:
        return values
    if not has_field(values.type, field):
        return pa.nulls(len(values))
    return pc.call_function("struct_field", [values], pc.StructFieldOptions([field]))


def with_value(row: pa.Table, column: str, value: Any) -> pa.Table:
    """A row with one value replaced."""
    position = row.schema.get_field_index(column)
    field = row.schema.field(position)
    return row.set_column(position, field, pa.array([value], field.type))


def with_image(row: pa.Table, column: str, data: bytes | None, suffix: str = "") -> pa.Table:
    """A row with other image bytes; the path next to them gets another suffix, if one is given."""
    value = row.column(column)[0].as_py()
    if not pa.types.is_struct(row.schema.field(column).type):
        return with_value(row, column, data)
    value = {**(value or {}), "bytes": data}
    if suffix and value.get("path"):
        folder, slash, name = value["path"].rpartition("/")
        value["path"] = folder + slash + name.rpartition(".")[0 if "." in name else 2] + suffix
    return with_value(row, column, value)


def conform(row: pa.Table, schema: pa.Schema, image: str) -> pa.Table:
    """A row in the column types of another schema, or an ElixirError; fields of images may be lost."""
    columns = []
    for wanted in schema:
        what = f"column {wanted.name!r} cannot be converted"
        with explaining((KeyError, pa.ArrowException), what, "the dataset was changed"):
            column = row.column(wanted.name)
            if column.type == wanted.type:
                columns.append(column)
            elif wanted.name == image:
                value = column[0].as_py()
                columns.append(pa.array([value if isinstance(value, dict) else {"bytes": value}], wanted.type))
            else:
                columns.append(column.cast(wanted.type))
    return pa.Table.from_arrays(columns, schema=schema)


class RowWriter:
    """Takes rows one by one and writes them in batches; what makes a batch depends on the rows alone."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.count = 0
        self._rows: list[pa.Table] = []
        self._size = 0

    def add(self, row: pa.Table) -> None:
        """Add a table of one row of this schema. It is copied, as a slice would keep its whole table in memory."""
        self._rows.append(row.take([0]))
        self._size += row.nbytes
        self.count += 1
        if len(self._rows) >= BATCH_ROWS or self._size >= BATCH_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left and give the file its name."""
        self._flush()

    def _flush(self) -> None:
        if self._rows:
            table = pa.concat_tables(self._rows).combine_chunks()
            self._rows, self._size = [], 0
            self._write(table.replace_schema_metadata(self.schema.metadata))

    def _write(self, table: pa.Table) -> None:
        raise NotImplementedError


class TableSink(Sink):
    """What the sinks of tables have in common; see `Sink`.

    A table has the columns of the source table, or image (bytes and path) and label (ClassLabel) for a folder. Where a
    label changes, `label_dependent_columns` change with it.
    """

    def __init__(self, folder: Path, source: Source) -> None:
        super().__init__(folder, source)
        self._index = -1
        if isinstance(source, TableSource):
            given, self.image, self.label, self._values = source.rows.schema, source.image, source.label, source.values
        else:
            classes = datasets.ClassLabel(names=source.classes)
            given = datasets.Features({"image": datasets.Image(), "label": classes}).arrow_schema
            self.image, self.label, self._values = "image", "label", list(range(len(source.classes)))
        self.schema = self._stored(given)
        self.whole_rows = given.types == self.schema.types

    def write(self, index: int, decision: Decision) -> str:
        if index <= self._index:
            raise ValueError("samples must be written in ascending order")
        self._index = index
        row = self._row(index)
        if decision.data is not None:
            row = with_image(row, self.image, decision.data, ".png")
        if decision.label != self.source.samples[index].label:
            row = with_value(row, self.label, self._values[decision.label])
            for column, values in self._dependent.items():
                if decision.label in values:
                    row = with_value(row, column, values[decision.label])
        return self._add(index, conform(row, self.schema, self.image))

    def _add(self, index: int, row: pa.Table) -> str:
        """Write one row and say where it is."""
        raise NotImplementedError

    def _stored(self, schema: pa.Schema) -> pa.Schema:
        """The columns of the output for those of the source."""
        return schema

    @cached_property
    def _dependent(self) -> dict[str, dict[int, Any]]:
        return label_dependent_columns(self.source) if isinstance(self.source, TableSource) else {}

    def _row(self, index: int) -> pa.Table:
        if isinstance(self.source, TableSource):
            return self.source.rows.row(index)
        sample = self.source.samples[index]
        with reading_again(sample.id):
            data = self.source.read(index)
        row = {"image": {"bytes": data, "path": sample.name}, "label": sample.label}
        return pa.Table.from_pylist([row], self.schema)
