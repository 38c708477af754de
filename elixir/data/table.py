"""Labelled images in tables: which columns hold them, and what all kinds of table have in common."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elixir.data.io import reading_again
from elixir.data.paths import file_name, folded
from elixir.data.sink import Decision, Sink
from elixir.data.source import Kind, Sample, Source
from elixir.errors import ElixirError, UnreadableSample, explaining

IMAGE_NAMES = ("image", "img", "images", "picture", "photo", "pixel_values", "jpg", "png", "webp")
"""Columns that are taken for the images, first of all, where types leave several."""
LABEL_NAMES = ("label", "labels", "y", "target", "targets", "class", "fine_label", "category", "cls")
"""Columns that are taken for the labels, likewise."""
BATCH_ROWS = 100  # rows that are written together
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
        label: name of the label column: class index, integer or string.
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
    samples: Sequence[Sample] = field(init=False)

    def __post_init__(self) -> None:
        self.classes, self.values, labels = _labels(self.rows, self.label)
        if not len(labels):
            raise ElixirError(f"{self.location} has no rows; check that this is the right dataset")
        if not self.classes:
            raise ElixirError(f"column {self.label!r} of {self.location} holds no labels; name another with --label")
        for name in self.classes:
            if re.search("[\ud800-\udfff]", name):
                where = f"column {self.label!r} of {self.location}"
                raise ElixirError(f"{where} has the class name {name[:80]!r}, which is no valid text; rename it")
        self.samples = TableSamples(self.rows.parts, labels, _names(self.rows, self.image, labels))

    @classmethod
    def of(
        cls, rows: Rows, kind: Kind, location: str, choice: Choice, split: str = "train", siblings: Any = None
    ) -> Self:
        """A table with the columns that are named, or can be told. Raises: ElixirError: they are not there."""
        if len(set(rows.schema.names)) < len(rows.schema.names):
            raise ElixirError(f"{location} has two columns of one name; rename one; {_listed(rows.schema)}")
        known = features(rows.schema)
        image = _image_column(rows.schema, known, choice.image, location)
        label = _label_column(rows.schema, known, choice.label, location)
        return cls(kind, location, rows, image, label, split, siblings)

    def read(self, index: int) -> bytes:
        data = self.rows.row(index).column(self.image)[0].as_py()
        if isinstance(data, dict):
            data = data.get("bytes")
        if data is None:
            raise UnreadableSample("no image is stored")
        return data

    def fingerprint(self) -> str:
        return self.rows.fingerprint()


class TableSamples(Sequence[Sample]):
    """The samples of a table, from its parts (see `Rows`), labels (n,) or -1, and file names (n,) or null."""

    def __init__(self, parts: list[tuple[str, int]], labels: np.ndarray, names: pa.Array) -> None:
        self._stems = [stem for stem, _ in parts]
        self._starts = np.cumsum([0, *(count for _, count in parts)])
        self._labels = labels
        self._names = names

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        part = int(np.searchsorted(self._starts, index, "right")) - 1
        id = f"{self._stems[part]}/{index - self._starts[part]:08d}"
        return Sample(id, int(self._labels[index]), self._names[index].as_py() or f"{index:08d}")


def _image_column(schema: pa.Schema, known: datasets.Features, given: str | None, location: str) -> str:
    stored = [column.name for column in schema if _holds_images(column.type)]
    if given:
        if given not in stored:
            raise ElixirError(f"{location} has no column {given!r} with encoded images; {_listed(schema)}")
        return given
    typed = [name for name in stored if isinstance(known.get(name), datasets.Image)]
    structs = [name for name in stored if pa.types.is_struct(schema.field(name).type)]
    for candidates in (typed, structs, stored):
        named = [name for name in IMAGE_NAMES if name in candidates]
        if len(candidates) == 1 or named:
            return named[0] if named else candidates[0]
    raise ElixirError(f"cannot tell which column of {location} has the images; name it with --image; {_listed(schema)}")


def _label_column(schema: pa.Schema, known: datasets.Features, given: str | None, location: str) -> str:
    plain = [column.name for column in schema if holds_labels(column.type)]
    if given:
        if given not in plain:
            raise ElixirError(f"{location} has no column {given!r} of integers or strings; {_listed(schema)}")
        return given
    typed = [name for name in plain if isinstance(known.get(name), datasets.ClassLabel)]
    if len(typed) == 1:
        return typed[0]
    for name in LABEL_NAMES:
        if name in (typed or plain):
            return name
    raise ElixirError(f"cannot tell which column of {location} has the labels; name it with --label; {_listed(schema)}")


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_images(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def holds_labels(kind: pa.DataType) -> bool:
    """Whether a column of this type can be one of labels."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean)
    return any(test(kind) for test in tests)


def _listed(schema: pa.Schema) -> str:
    return "its columns: " + ", ".join(f"{column.name} ({str(column.type)[:40]})" for column in schema)


def _labels(rows: Rows, column: str) -> tuple[list[str], list[Any], np.ndarray]:
    """Class names, the value that stands for each, and int32 (n,) class indices, -1 for none."""
    feature = features(rows.schema).get(column)
    if isinstance(feature, datasets.ClassLabel) and feature.names:
        found = [np.asarray(piece.fill_null(-1).to_numpy(zero_copy_only=False)) for piece in rows.column(column)]
        labels = np.concatenate([*found, np.empty(0, np.int64)])
        labels[(labels < 0) | (labels >= len(feature.names))] = -1
        return [str(name) for name in feature.names], list(range(len(feature.names))), labels.astype(np.int32)
    pieces = [_plain(piece) for piece in rows.column(column)]
    stored = pa.chunked_array(pieces) if pieces else pa.chunked_array([], pa.string())
    values = sorted(value for value in stored.unique().to_pylist() if value is not None)
    positions = stored.combine_chunks().dictionary_encode()
    order = {value: index for index, value in enumerate(values)}
    lookup = np.array([order.get(value, -1) for value in positions.dictionary.to_pylist()] + [-1], np.int32)
    labels = lookup[positions.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return [str(value) for value in values], values, labels


def _plain(values: pa.Array) -> pa.Array:
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def _names(rows: Rows, image: str, labels: np.ndarray) -> pa.Array:
    """The base names of the original files, null where there is none or a class has it twice."""
    if not has_paths(rows, image):
        return pa.nulls(len(labels), pa.string())
    seen = Counter((label, folded(name)) for label, name in zip(labels, _base_names(rows, image), strict=True) if name)
    pairs = zip(labels, _base_names(rows, image), strict=True)
    names = (name if name and seen[label, folded(name)] == 1 else None for label, name in pairs)
    return pa.array(names, pa.string())


def has_paths(rows: Rows, image: str) -> bool:
    """Whether the image column has the paths of files beside the bytes."""
    kind = rows.schema.field(image).type
    return pa.types.is_struct(kind) and kind.get_field_index("path") >= 0


def _base_names(rows: Rows, image: str) -> Iterator[str | None]:
    for piece in rows.column(image, "path"):
        for path in piece.to_pylist():
            base = path.partition("::")[0].rpartition("/")[2] if isinstance(path, str) else ""
            yield file_name(base) if base else None


def label_dependent_columns(source: TableSource) -> dict[str, dict[int, Any]]:
    """The columns that say the same as the label, such as the name of a class: the value (may be null) of each label.

    A column is one of them if all rows of a label hold one value. There are none where labels have fewer than two rows
    on average, because any column of unique values would be one then.
    """
    labels = np.fromiter((sample.label for sample in source.samples), np.int32, len(source.samples))
    labelled = labels[labels >= 0]
    if len(labelled) < 2 * len(np.unique(labelled)):
        return {}
    dependent = {}
    for column in source.rows.schema:
        if column.name != source.label and holds_labels(column.type):
            with suppress(ElixirError, UnicodeDecodeError):  # text that is no UTF-8 is copied, whatever it says
                if values := _values_by_label(source.rows, column.name, labels):
                    dependent[column.name] = values
    return dependent


def _values_by_label(rows: Rows, column: str, labels: np.ndarray) -> dict[int, Any] | None:
    """The value of each label, None if a label has several."""
    values: dict[int, Any] = {}
    start = 0
    for piece in rows.column(column):
        pairs = pa.table({"label": labels[start : start + len(piece)], "value": _plain(piece)})
        start += len(piece)
        for pair in pairs.group_by(["label", "value"]).aggregate([]).to_pylist():
            if pair["label"] >= 0 and values.setdefault(pair["label"], pair["value"]) != pair["value"]:
                return None
    return values


def features(schema: pa.Schema) -> datasets.Features:
    """What `datasets` makes of the columns: as the metadata says, else as the types tell; nothing if they do not."""
    for described in (schema, schema.remove_metadata()):
        with suppress(Exception):  # metadata is anything that somebody wrote there, and not every type has a feature
            return datasets.Features.from_arrow_schema(described)
    return datasets.Features()


class FileRows:
    """What the rows of files have in common; see `Rows`."""

    schema: pa.Schema

    def __init__(self, files: list[Path], about: dict[str, str]) -> None:
        self.files = files
        self.about = about

    def fingerprint(self) -> str:
        """See `Rows.fingerprint`: from the names, sizes and modification times of the files."""
        states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in self.files]
        return hashlib.sha256(repr(states).encode("utf-8", "surrogateescape")).hexdigest()

    def _take_schema(self, schema: pa.Schema, file: Path) -> None:
        """Take that of the first file; an ElixirError for another that has other columns or names of labels."""
        first = self.files[0]
        if file == first:
            self.schema = schema
        if not schema.equals(self.schema):
            raise ElixirError(f"{file} has other columns than {first}; give files of one dataset")
        if _label_names(schema) != _label_names(self.schema):
            raise ElixirError(f"{file} has other names of labels than {first}; give files of one dataset")


def _label_names(schema: pa.Schema) -> dict[str, list[str]]:
    return {
        name: feature.names for name, feature in features(schema).items() if isinstance(feature, datasets.ClassLabel)
    }


def struct_field(values: pa.Array, field: str) -> pa.Array:
    """A field of a column of structs, or the column itself if none is named."""
    return pc.call_function("struct_field", [values], pc.StructFieldOptions([field])) if field else values


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
