"""Rows of a table wherever it is, a few at a time: parquet files, arrow files, `datasets` and torch datasets."""

from __future__ import annotations

import hashlib
import mmap
import os
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from elixir.errors import ElixirError

if TYPE_CHECKING:
    import datasets

BLOCK = 64  # rows that are decoded at once
DECODED = 1 << 28  # bytes of them, as far as the file tells
RESIDENT = 32 << 20  # bytes that may be read from a mapped file before its pages are given back


class Rows(Protocol):
    """A table that is read row by row; fastest in ascending order.

    Attributes:
        schema: of the table, with the features of `datasets` in its metadata where there are any.
        parts: stem for sample ids and number of rows of each part, in order.
    """

    schema: pa.Schema
    parts: list[tuple[str, int]]

    def row(self, index: int) -> pa.Table:
        """One row, as a table of length 1."""
        ...

    def column(self, name: str, field: str = "") -> Iterator[pa.Array]:
        """All values of a column, or of a field of it, piece by piece."""
        ...

    def fingerprint(self) -> str:
        """Hexadecimal digest that changes with the table."""
        ...


class ParquetRows:
    """Parquet files of one schema, decoded by blocks of rows.

    Going back within a row group decodes it from its start again, so read in ascending order.

    Raises:
        ElixirError: a file is no parquet file, or columns or names of labels differ between files.
    """

    def __init__(self, files: list[Path], stems: list[str]) -> None:
        self.files = files
        self.parts: list[tuple[str, int]] = []
        self._groups: list[tuple[int, int, int]] = []  # file, row group in it, rows to decode at once
        sizes = [0]
        for number, (file, stem) in enumerate(zip(files, stems, strict=True)):
            with _open_parquet(file) as opened:
                schema, meta = opened.schema_arrow, opened.metadata
            if not number:
                self.schema = schema
            else:
                _check_same(schema, file, self.schema, files[0])
            self.parts.append((stem, meta.num_rows))
            for group in range(meta.num_row_groups):
                about = meta.row_group(group)
                # One value may stand for all rows, so each may be as large as all that is stored.
                block = min(BLOCK, max(1, DECODED // max(1, about.total_byte_size)))
                self._groups.append((number, group, block))
                sizes.append(about.num_rows)
        self._starts = list(accumulate(sizes))
        self._group, self._file, self._blocks = -1, -1, iter(())
        self._block, self._first = self.schema.empty_table(), 0

    def row(self, index: int) -> pa.Table:
        """See `Rows.row`."""
        group = bisect_right(self._starts, index) - 1
        if group != self._group or index < self._first:
            self._open(group)
        while index >= self._first + len(self._block):
            self._first += len(self._block)
            self._block = self._next(index)
        return self._block.slice(index - self._first, 1)

    def column(self, name: str, field: str = "") -> Iterator[pa.Array]:
        """See `Rows.column`."""
        for file in self.files:
            with _open_parquet(file) as opened:
                try:
                    for batch in opened.iter_batches(4096, columns=[f"{name}.{field}" if field else name]):
                        batch.validate(full=True)  # text need not be UTF-8 in parquet
                        yield _field(batch.column(name), field)
                except (pa.ArrowException, OSError) as error:
                    raise ElixirError(f"{file} is damaged in its column {name!r}: {error}") from error

    def fingerprint(self) -> str:
        """See `Rows.fingerprint`: names, sizes and times of the files."""
        return file_fingerprint(self.files)

    def _open(self, group: int) -> None:
        number, within, block = self._groups[group]
        if number != self._file:
            self._opened = _open_parquet(self.files[number])
        self._blocks = self._opened.iter_batches(block, row_groups=[within])
        self._group, self._file = group, number
        self._block, self._first = self.schema.empty_table(), self._starts[group]

    def _next(self, index: int) -> pa.Table:
        try:
            return pa.Table.from_batches([next(self._blocks)], self.schema)
        except (pa.ArrowException, OSError, StopIteration) as error:
            self._group = -1
            raise ElixirError(f"{self.files[self._file]} is damaged at row {index} of the dataset: {error}") from error


class ArrowRows:
    """The arrow files of a dataset written by `save_to_disk`.

    They are mapped, and the pages given back now and then, because mapped pages count as resident memory.

    Raises:
        ElixirError: a file is no arrow stream, or columns or names of labels differ between files.
    """

    def __init__(self, files: list[Path], stem: str) -> None:
        self.files = files
        self._maps: list[mmap.mmap] = []
        self._batches: list[pa.RecordBatch] = []
        self._touched = 0
        for number, file in enumerate(files):
            try:
                with file.open("rb") as opened:
                    mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
                with pa.ipc.open_stream(pa.py_buffer(mapped)) as reader:
                    schema = reader.schema
                    batches = [batch for batch in reader if len(batch)]
                for batch in batches:
                    batch.validate(full=True)  # a wrong offset in a mapped file would end the process
            except (OSError, ValueError, pa.ArrowException) as error:
                raise ElixirError(f"{file} cannot be read as an arrow file: {error}; save the dataset again") from error
            if not number:
                self.schema = schema
            else:
                _check_same(schema, file, self.schema, files[0])
            self._batches += batches
            self._maps.append(mapped)
        self._starts = list(accumulate(map(len, self._batches), initial=0))
        self.parts = [(stem, self._starts[-1])]

    def row(self, index: int) -> pa.Table:
        """See `Rows.row`."""
        number = bisect_right(self._starts, index) - 1
        row = self._batches[number].slice(index - self._starts[number], 1)
        self._touch(row.get_total_buffer_size() // max(1, len(self._batches[number])))
        return pa.Table.from_batches([row])

    def column(self, name: str, field: str = "") -> Iterator[pa.Array]:
        """See `Rows.column`."""
        for batch in self._batches:
            yield _field(batch.column(name), field)
            self._touch(RESIDENT)

    def fingerprint(self) -> str:
        """See `Rows.fingerprint`: names, sizes and times of the files."""
        return file_fingerprint(self.files)

    def _touch(self, size: int) -> None:
        self._touched += size
        if self._touched >= RESIDENT:
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)
            self._touched = 0


class DatasetRows:
    """A `datasets.Dataset`; images that are only named in it are read from their files."""

    def __init__(self, dataset: datasets.Dataset, stem: str) -> None:
        self.dataset = dataset.with_format("arrow")
        self.schema = dataset.features.arrow_schema
        self.parts = [(stem, len(dataset))]

    def row(self, index: int) -> pa.Table:
        """See `Rows.row`."""
        from datasets.table import embed_table_storage

        row: Any = self.dataset[index : index + 1]
        try:
            return embed_table_storage(row)
        except Exception:  # file systems raise anything for what is not there or broken: the row then has no image
            return row

    def column(self, name: str, field: str = "") -> Iterator[pa.Array]:
        """See `Rows.column`."""
        table: Any
        for table in self.dataset.select_columns([name]).iter(256):
            for chunk in table.column(0).chunks:
                yield _field(chunk, field)

    def fingerprint(self) -> str:
        """See `Rows.fingerprint`: the one that `datasets` keeps."""
        return hashlib.sha256(self.dataset._fingerprint.encode()).hexdigest()


class TorchRows:
    """A torch dataset of (image, label) as a table with the columns image and label; images become PNG.

    Args:
        dataset: with `__len__` and `__getitem__`; its `targets` and `classes` are used where it has them.
    """

    def __init__(self, dataset: Any) -> None:
        import datasets

        self.dataset = dataset
        self.labels = np.fromiter((int(label) for label in self._labels()), np.int64, len(dataset))
        if len(self.labels) and self.labels.min() < 0:
            raise ElixirError("the torch dataset has negative labels; number the classes from 0")
        count = int(self.labels.max(initial=-1)) + 1
        names = [str(name) for name in getattr(dataset, "classes", ())]
        if len(set(names)) != len(names) or len(names) < count:
            names = [str(number) for number in range(count)]
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
        self.schema = features.arrow_schema
        self.parts = [("train", len(dataset))]

    def row(self, index: int) -> pa.Table:
        """See `Rows.row`."""
        image = {"bytes": _png(self.dataset[index][0]), "path": None}
        return pa.Table.from_pylist([{"image": image, "label": int(self.labels[index])}], self.schema)

    def column(self, name: str, field: str = "") -> Iterator[pa.Array]:
        """See `Rows.column`."""
        yield pa.array(self.labels) if name == "label" else pa.nulls(len(self.labels), pa.string())

    def fingerprint(self) -> str:
        """See `Rows.fingerprint`: the labels, and the pixels of three images.

        Raises:
            ElixirError: one of them is another each time.
        """
        digest = hashlib.sha256(self.labels.tobytes())
        for index in {0, len(self.labels) // 2, len(self.labels) - 1}:
            image = _png(self.dataset[index][0])
            if image != _png(self.dataset[index][0]):
                raise ElixirError("the torch dataset gives another image each time; leave out its random transforms")
            digest.update(image)
        return digest.hexdigest()

    def _labels(self) -> Any:
        targets = getattr(self.dataset, "targets", None)
        if targets is not None and len(targets) == len(self.dataset):
            return targets
        return (self.dataset[index][1] for index in range(len(self.dataset)))


def features(schema: pa.Schema) -> datasets.Features:
    """What `datasets` makes of the columns: as the metadata says, else as the types tell; nothing if they do not."""
    import datasets

    for described in (schema, schema.remove_metadata()):
        with suppress(Exception):  # metadata is anything that somebody wrote there, and not every type has a feature
            return datasets.Features.from_arrow_schema(described)
    return datasets.Features()


def file_fingerprint(files: list[Path]) -> str:
    """Hexadecimal digest of names, sizes and modification times."""
    states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(states).encode("utf-8", "surrogateescape")).hexdigest()


def _check_same(schema: pa.Schema, file: Path, first_schema: pa.Schema, first: Path) -> None:
    if not schema.equals(first_schema):
        raise ElixirError(f"{file} has other columns than {first}; give files of one dataset")
    if _label_names(schema) != _label_names(first_schema):
        raise ElixirError(f"{file} has other names of labels than {first}; give files of one dataset")


def _label_names(schema: pa.Schema) -> dict[str, list[str]]:
    import datasets

    return {
        name: feature.names for name, feature in features(schema).items() if isinstance(feature, datasets.ClassLabel)
    }


def _open_parquet(file: Path) -> pq.ParquetFile:
    try:
        # Without the buffer a whole column of a row group, that is all its images, is read at once.
        return pq.ParquetFile(pa.OSFile(os.fsencode(file)), buffer_size=1 << 20, pre_buffer=False)
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise ElixirError(f"{file} cannot be read as parquet: {error}; check the file") from error


def _field(values: pa.Array, field: str) -> pa.Array:
    return pc.call_function("struct_field", [values], pc.StructFieldOptions([field])) if field else values


def _png(image: Any) -> bytes:
    if not isinstance(image, Image.Image):
        image = Image.fromarray(_pixels(image))
    buffer = BytesIO()
    try:
        image.save(buffer, "PNG")
    except OSError as error:
        raise ElixirError(f"the torch dataset gives images that PNG does not hold: {error}; use RGB or grey") from error
    return buffer.getvalue()


def _pixels(image: Any) -> np.ndarray:
    """A tensor (c, h, w) or an array (h, w, c) as uint8 (h, w) or (h, w, 3 or 4)."""
    channels_first = hasattr(image, "detach")
    pixels = image.detach().cpu().numpy() if channels_first else np.asarray(image)
    if channels_first and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if 0 in pixels.shape or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise ElixirError(
            f"the torch dataset gives images of shape {tuple(image.shape)}; use (c, h, w) with 1 to 4 channels"
        )
    if pixels.dtype.kind == "f":
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise ElixirError("the torch dataset gives float images outside [0,1]; leave out its normalisation")
        pixels = np.rint(pixels * 255)
    if pixels.min() < 0 or pixels.max() > 255:
        raise ElixirError("the torch dataset gives integer images outside 0..255; scale them to 8 bits")
    return np.ascontiguousarray(pixels.astype(np.uint8))
