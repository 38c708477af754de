"""Columns: what a stage has found out about each sample, kept in parquet files."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elixir.data.io import read_table, write_table

Columns = dict[str, np.ndarray]


def write_columns(path: Path, columns: Columns) -> None:
    """Write columns through a temporary name: arrays (n, ...) of numbers, or of text as objects (n,)."""
    write_table(path, _to_table(columns))


def read_columns(paths: Sequence[Path], remedy: str, names: list[str] | None = None) -> Columns:
    """Read columns, all or some, of several files, one after the other; for `remedy` see `read_table`."""
    table = pa.concat_tables([read_table(path, remedy, names) for path in paths])
    shapes: dict[str, Sequence[int]] = json.loads((table.schema.metadata or {}).get(b"shapes", b"{}"))
    columns: Columns = {}
    for key in table.column_names:
        column = table.column(key).combine_chunks()
        if key in shapes:
            columns[key] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, *shapes[key])
        else:
            columns[key] = column.to_numpy(zero_copy_only=False)
    return columns


def column_names(path: Path) -> list[str]:
    """Names of the columns of a file that `write_columns` has written."""
    return pq.read_schema(path).names


def _to_table(columns: Columns) -> pa.Table:
    arrays: dict[str, pa.Array] = {}
    for key, values in columns.items():
        flat = pa.array(list(values), pa.string()) if values.dtype == object else pa.array(values.reshape(-1))
        width = int(np.prod(values.shape[1:]))
        arrays[key] = pa.FixedSizeListArray.from_arrays(flat, width) if values.ndim > 1 else flat
    shapes = {key: list(values.shape[1:]) for key, values in columns.items() if values.ndim > 1}
    return pa.table(arrays).replace_schema_metadata({"shapes": json.dumps(shapes)})
