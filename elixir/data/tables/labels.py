"""The labels of a table: which types of column hold them, what of it is no label, and what only may be none."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite, isnan
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from elixir.data.paths import folded
from elixir.data.tables.schema import plain_type
from elixir.errors import ElixirError

ROWS_A_CLASS = 2  # on average; a column of fewer holds ids or captions
ENOUGH_ROWS = 20  # labelled rows from which on that can be told
MAY_BE_NO_LABEL = ("nan", "none", "null", "n/a", "<na>", "-1")
"""Text that stands for no label in many tables, and is read as a class all the same."""


class NoLabels(ElixirError):
    """A column that holds no classes."""


@dataclass
class Labels:
    """The labels of a table.

    Attributes:
        classes: their names.
        values: what the column holds for each class.
        indices: int32 (n,), the class of each row, -1 for none.
        notes: sentences for people.
    """

    classes: list[str]
    values: list[Any]
    indices: np.ndarray
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        missing = int((self.indices < 0).sum())
        if missing:
            verb = "have no label and are" if missing > 1 else "has no label and is"
            self.notes.append(f"{missing:,} of {len(self.indices):,} samples {verb} set aside")


def holds_labels(kind: pa.DataType) -> bool:
    """Whether a column of this type can be one of labels."""
    tests = (
        *(pa.types.is_integer, pa.types.is_boolean, pa.types.is_floating, pa.types.is_decimal),
        *(pa.types.is_string, pa.types.is_large_string),
    )
    return any(test(plain_type(kind)) for test in tests)


def read_labels(pieces: Iterable[pa.Array], feature: Any, column: str, location: str) -> Labels:
    """The labels of a column of the table at `location`, by the column's feature of `datasets`, if it has one.

    Null, NaN, a negative number and blank text are no label.

    Raises: NoLabels: there are none, or numbers that are not whole, or other values in most rows.
    """
    names = feature.names if isinstance(feature, datasets.ClassLabel) else None
    labels = _by_name(pieces, names, column) if names else _by_value(pieces, column, location)
    if len(labels.indices) and not (labels.indices >= 0).any():
        raise NoLabels(f"column {column!r} of {location} holds no labels; name another with --label")
    return labels


def _by_name(pieces: Iterable[pa.Array], names: list[Any], column: str) -> Labels:
    """Indices into names of classes."""
    found = [np.asarray(piece.fill_null(-1).to_numpy(zero_copy_only=False)) for piece in pieces]
    indices = np.concatenate([*found, np.empty(0, np.int64)])
    beyond = int((indices >= len(names)).sum())
    indices[(indices < 0) | (indices >= len(names))] = -1
    labels = Labels([str(name) for name in names], list(range(len(names))), indices.astype(np.int32))
    if beyond:
        many = f"{beyond:,} label{'s' if beyond > 1 else ''}"
        labels.notes.append(f"column {column!r} has {len(names):,} class names, and {many} beyond them: no label")
    return labels


def _by_value(pieces: Iterable[pa.Array], column: str, location: str) -> Labels:
    """Numbers or text, each value a class of its own."""
    place = f"column {column!r} of {location}"
    arrays = [plain_values(piece) for piece in pieces]
    stored = (pa.chunked_array(arrays) if arrays else pa.chunked_array([], pa.string())).combine_chunks()
    encoded = stored.dictionary_encode()
    found = encoded.dictionary.to_pylist()
    keys = [class_of(value, place) for value in found]
    written = {key: value for key, value in zip(keys, found, strict=True) if key is not None}
    order = {key: index for index, key in enumerate(sorted(written))}
    lookup = np.array([*(-1 if key is None else order[key] for key in keys), -1], np.int32)
    indices = lookup[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    labelled = int((indices >= 0).sum())
    if labelled >= ENOUGH_ROWS and labelled < ROWS_A_CLASS * len(order):
        what = f"{place} holds {len(order):,} values in {labelled:,} rows, such as {str(next(iter(order)))[:40]!r}"
        raise NoLabels(f"{what}: these are no classes but ids or captions; name another with --label")
    if len(order) == 1 and any(not isinstance(value, str) and value is not None and value < 0 for value in found):
        what = f"{place} holds one class, {next(iter(order))}, and negative numbers, which are no label"
        raise NoLabels(f"{what}; number the classes from 0, or name another column with --label")
    labels = Labels([str(key) for key in order], [written[key] for key in order], indices)
    labels.notes += _doubts(list(order), stored.type, column)
    return labels


def plain_values(values: pa.Array) -> pa.Array:
    """The values themselves, for a column of categories."""
    return values.cast(plain_type(values.type))


def class_of(value: Any, place: str) -> Any:
    """The class that a value stands for, None for no label. Raises: NoLabels: it is a number that is not whole."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value if value.strip() else None
    if isnan(value):
        return None
    if not isfinite(value) or value != int(value):
        remedy = "make a column of whole numbers or of text, or name another with --label"
        raise NoLabels(f"{place} holds {value}, which is no class; {remedy}")
    return None if value < 0 else int(value)


def _doubts(classes: list[Any], kind: pa.DataType, column: str) -> list[str]:
    """Sentences about values that are read as classes and may not have been meant so."""
    doubtful = [name for name in classes if isinstance(name, str) and name.strip().casefold() in MAY_BE_NO_LABEL]
    if pa.types.is_unsigned_integer(kind) and len(classes) > 1:
        largest = 2**kind.bit_width - 1  # what -1 becomes
        doubtful = [classes[-1]] if classes[-1] == largest and classes[-2] < largest - 1 else []
    remedy = "which is read as a class; if it stands for no label, make it null"
    notes = [f"column {column!r} holds {name!r}, {remedy}" for name in doubtful]
    alike: dict[str, str] = {}
    for name in (name for name in classes if isinstance(name, str)):
        other = alike.setdefault(folded(name.strip()), name)
        if other != name:
            notes.append(f"column {column!r} holds {other!r} and {name!r}, which are read as two classes")
            break
    return notes
