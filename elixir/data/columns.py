"""Columns: what a stage has found out about each sample, numbers in flat files and text in parquet."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elixir.data.io import read_table, write_table, writing
from elixir.data.paths import escape
from elixir.data.records import Records
from elixir.errors import ElixirError

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


def read_columns(path: Path, remedy: str, names: list[str] | None = None) -> Columns:
    """Read columns, all or some; for `remedy` see `read_table`."""
    table = read_table(path, remedy, names)
    return {name: _array(table.column(name)) for name in table.column_names}


def _array(column: pa.ChunkedArray) -> np.ndarray:
    if not pa.types.is_string(column.type):
        return column.to_numpy(zero_copy_only=False)
    encoded = column.combine_chunks().dictionary_encode()  # equal texts are one object
    return np.array(encoded.dictionary.to_pylist(), object)[encoded.indices.to_numpy()]


class StageColumns:
    """The columns of one stage, written in parts.

    Numbers (n, ...) lie in one flat file for all parts, `<name>.<type>` or `<name>.<sides>.<type>`, a record for each
    sample at its place. Text (n,) lies in a parquet file for each part, with the places of its samples; it is written
    last and says that the part is done. So parts may be written by several processes, and again.

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
        texts: Columns = {INDEX: indices.astype(np.int64)}
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        for name, values in columns.items():
            if values.dtype == object:
                texts[name] = values
                continue
            sides = values.shape[1:]
            file = ".".join([name, *(["x".join(map(str, sides))] if sides else []), str(values.dtype)])
            with Records(self._folder / file, sides, values.dtype) as records:
                records.write(indices, values)
        write_columns(self._part(part), texts)

    def names(self) -> list[str]:
        """Of all columns."""
        parts = self._parts()
        texts = pq.read_schema(parts[0]).names if parts else []
        return [name for name in (*texts, *self._numbers()) if name != INDEX]

    def read(self, name: str, total: int) -> np.ndarray:
        """A column of all `total` samples, (total, ...); numbers are read-only and mapped from their file.

        Where the stage has not looked at a sample, it holds -1 (0 if unsigned), NaN, False or "".
        """
        file = self._numbers().get(name)
        parts = [read_columns(part, self._remedy, [INDEX] if file else [INDEX, name]) for part in self._parts()]
        indices = np.concatenate([part[INDEX] for part in parts])
        values = _mapped(file)[:total] if file else np.concatenate([part[name] for part in parts])
        if file and len(values) <= indices.max(initial=-1):
            raise ElixirError(f"{escape(str(file))} is cut off; {self._remedy}")
        if len(indices) == total:  # parts are in order
            return values
        filled = np.full((total, *values.shape[1:]), _FILL[values.dtype.kind], values.dtype)
        filled[indices] = values[indices] if file else values
        return filled

    def _part(self, number: int) -> Path:
        return self._folder / f"{number:06d}.parquet"

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet"))

    def _numbers(self) -> dict[str, Path]:
        files = [path for path in self._folder.glob("*.*") if path.suffix not in (".parquet", ".partial")]
        return {path.name.partition(".")[0]: path for path in files}


def _mapped(file: Path) -> np.ndarray:
    _, *sides, dtype = file.name.split(".")
    with Records(file, tuple(map(int, sides[0].split("x"))) if sides else (), dtype) as records:
        return records.mapped()
