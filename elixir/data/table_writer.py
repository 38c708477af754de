"""Rows to parquet and arrow files, in batches that depend on the rows alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from elixir.data.io import replacing, writing
from elixir.data.rows import features
from elixir.errors import ElixirError

BATCH_ROWS = 100
BATCH_BYTES = 16 << 20
SHARD_BYTES = 500 << 20
ABOUT = ("citation", "description", "homepage", "license")  # of dataset_info.json: what holds for a changed dataset
ROW = "elixir_row"  # number of a row in the source, where not all rows are kept


class TableWriter(Protocol):
    """Takes rows one by one."""

    def add(self, row: pa.Table) -> None:
        """Add a table of one row that has the writer's columns."""
        ...

    def close(self) -> None:
        """Write what is left and give the file its name."""
        ...


class ParquetWriter:
    """One parquet file; it has its name only when closed."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        self._batch = _Batch(schema)
        self._partial = path.with_name(f"{path.stem[:200]}.partial")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._writer = pq.ParquetWriter(self._partial, schema)
            except pa.ArrowException as error:
                raise ElixirError(f"the table has a column that parquet cannot hold: {error}; leave it out") from error

    def add(self, row: pa.Table) -> None:
        """See `TableWriter.add`."""
        if self._batch.add(row):
            self._flush()

    def close(self) -> None:
        """See `TableWriter.close`."""
        self._flush()
        with replacing(self.path, self._partial):
            self._writer.close()

    def _flush(self) -> None:
        if table := self._batch.take():
            with writing(self.path):
                self._writer.write_table(table)


class ArrowWriter:
    """A folder as `Dataset.save_to_disk` writes it.

    Args:
        folder: to be made.
        schema: of the rows.
        split: its name.
        about: what its dataset_info.json says for each of `ABOUT`, "" where it is not given.
    """

    def __init__(self, folder: Path, schema: pa.Schema, split: str, about: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.schema = schema
        self.split = split
        self.about = about or {}
        self._batch = _Batch(schema)
        self._shards: list[Path] = []
        self._digest = hashlib.sha256(schema.serialize())
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._start_shard()

    def add(self, row: pa.Table) -> None:
        """See `TableWriter.add`."""
        if self._batch.add(row):
            self._flush()

    def close(self) -> None:
        """See `TableWriter.close`."""
        self._flush()
        names = [f"data-{number:05d}-of-{len(self._shards):05d}.arrow" for number in range(len(self._shards))]
        with writing(self.folder):
            self._finish_shard()
            for shard, name in zip(self._shards, names, strict=True):
                shard.replace(self.folder / name)
            known = features(self.schema).to_dict()
            info = {"features": known, **{name: self.about.get(name, "") for name in ABOUT}}
            (self.folder / "dataset_info.json").write_text(json.dumps(info, indent=2), "utf-8")
            state = {
                "_data_files": [{"filename": name} for name in names],
                "_fingerprint": self._digest.hexdigest()[:16],
                "_format_columns": None,
                "_format_kwargs": {},
                "_format_type": None,
                "_output_all_columns": False,
                "_split": self.split,
            }
            (self.folder / "state.json").write_text(json.dumps(state, indent=2, sort_keys=True), "utf-8")

    def _flush(self) -> None:
        table = self._batch.take()
        if not table:
            return
        with writing(self.folder):
            if self._file.tell() >= SHARD_BYTES:
                self._finish_shard()
                self._start_shard()
            self._stream.write_table(table)
        for column in table.columns:
            for buffer in (buffer for chunk in column.chunks for buffer in chunk.buffers() if buffer):
                self._digest.update(buffer)

    def _start_shard(self) -> None:
        self._shards.append(self.folder / f"{len(self._shards):05d}.partial")
        with writing(self.folder):
            self._file = pa.OSFile(str(self._shards[-1]), "wb")
            self._stream = pa.ipc.new_stream(self._file, self.schema)

    def _finish_shard(self) -> None:
        self._stream.close()
        self._file.close()


class _Batch:
    """Rows that wait for being written together."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._rows: list[pa.Table] = []
        self._size = 0

    def add(self, row: pa.Table) -> bool:
        """Whether it is time to write. The row is copied, because a slice would keep its whole table in memory."""
        self._rows.append(row.take([0]))
        self._size += row.nbytes
        return len(self._rows) >= BATCH_ROWS or self._size >= BATCH_BYTES

    def take(self) -> pa.Table | None:
        if not self._rows:
            return None
        table = pa.concat_tables(self._rows).combine_chunks()
        self._rows, self._size = [], 0
        return table.replace_schema_metadata(self._schema.metadata)


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
    described = json.dumps({"info": {"features": known.to_dict()}}).encode()
    return longer.with_metadata({**(schema.metadata or {}), b"huggingface": described})


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
    """A row in the column types of another schema that has the same columns; fields of images may be lost.

    Raises:
        ElixirError: a column is missing or cannot be converted.
    """
    columns = []
    for field in schema:
        try:
            column = row.column(field.name)
            if column.type == field.type:
                columns.append(column)
            elif field.name == image:
                columns.append(_image(column[0].as_py(), field.type))
            else:
                columns.append(column.cast(field.type))
        except (KeyError, pa.ArrowException) as error:
            raise ElixirError(f"column {field.name!r} cannot be converted: {error}; the dataset was changed") from error
    return pa.Table.from_arrays(columns, schema=schema)


def _image(value: Any, kind: pa.DataType) -> pa.Array:
    return pa.array([value if isinstance(value, dict) else {"bytes": value}], kind)
