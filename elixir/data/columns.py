"""Columns: what a stage has found out about each sample, kept in parquet files and, if wide, in flat ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elixir.data.io import read_table, write_table, writing
from elixir.data.records import Records

Columns = dict[str, np.ndarray]

INDEX = "index"
_FILL: dict[str, Any] = {"b": False, "i": -1, "u": 0, "f": np.nan, "O": ""}


def write_columns(path: Path, columns: Columns) -> None:
    """Write columns through a temporary name: arrays (n,) of numbers, or of text as objects."""
    arrays = {
        key: pa.array(list(values), pa.string()) if values.dtype == object else pa.array(values)
        for key, values in columns.items()
    }
    write_table(path, pa.table(arrays))


def read_columns(paths: Sequence[Path], remedy: str, names: list[str] | None = None) -> Columns:
    """Read columns, all or some, of several files, one after the other; for `remedy` see `read_table`."""
    table = pa.concat_tables([read_table(path, remedy, names) for path in paths])
    return {name: _array(table.column(name)) for name in table.column_names}


def _array(column: pa.ChunkedArray) -> np.ndarray:
    if not pa.types.is_string(column.type):
        return column.to_numpy(zero_copy_only=False)
    encoded = column.combine_chunks().dictionary_encode()  # equal texts are one object
    return np.array(encoded.dictionary.to_pylist(), object)[encoded.indices.to_numpy()]


class StageColumns:
    """The columns of one stage, written in parts.

    Narrow columns (n,) lie in a parquet file for each part. A wide one (n, ...) lies in one flat file for all parts,
    `<name>.<shape>.<type>`, a record for each sample at its place; a part writes its records before its parquet file,
    which says that it is done. So parts may be written by several processes, and again.

    Args:
        folder: where they lie; made when missing.
        remedy: what to do where a file is damaged.
    """

    def __init__(self, folder: Path, remedy: str) -> None:
        self._folder = folder
        self._remedy = remedy

    def has(self, part: int) -> bool:
        """Whether a part is written."""
        return self._part(part).exists()

    def write(self, part: int, indices: np.ndarray, columns: Columns) -> None:
        """Keep columns for the samples at some places (int64)."""
        narrow: Columns = {INDEX: indices.astype(np.int64)}
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        for name, values in columns.items():
            if values.ndim == 1:
                narrow[name] = values
                continue
            sides = "x".join(map(str, values.shape[1:]))
            with Records(self._folder / f"{name}.{sides}.{values.dtype}", values.shape[1:], values.dtype) as records:
                records.write(indices, values)
        write_columns(self._part(part), narrow)

    def names(self) -> list[str]:
        """Of all columns."""
        parts = self._parts()
        narrow = pq.read_schema(parts[0]).names if parts else []
        return [name for name in (*narrow, *self._wide()) if name != INDEX]

    def read(self, name: str, total: int) -> np.ndarray:
        """A column of all `total` samples, (total, ...); a wide one is read-only and mapped from its file.

        Where the stage has not looked at a sample, it holds -1 (0 if unsigned), NaN, False or "".
        """
        wide = self._wide().get(name)
        columns = read_columns(self._parts(), self._remedy, [INDEX] if wide else [INDEX, name])
        indices = columns[INDEX]
        if wide:
            _, sides, dtype = wide.name.rsplit(".", 2)
            with Records(wide, tuple(map(int, sides.split("x"))), dtype) as records:
                values = records.mapped()
        else:
            values = columns[name]
        if len(indices) == total:  # parts are in order
            return values
        filled = np.full((total, *values.shape[1:]), _FILL[values.dtype.kind], values.dtype)
        filled[indices] = values[indices] if wide else values
        return filled

    def _part(self, number: int) -> Path:
        return self._folder / f"{number:06d}.parquet"

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet"))

    def _wide(self) -> dict[str, Path]:
        files = [path for path in self._folder.glob("*.*.*") if path.suffix not in (".parquet", ".partial")]
        return {path.name.rsplit(".", 2)[0]: path for path in files}
