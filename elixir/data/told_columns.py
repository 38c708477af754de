"""Columns of a table that say the same as its label in other words: the name of a class, or a group of classes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa

from elixir.data.rows import Rows
from elixir.data.tables import TableSource, holds_labels
from elixir.errors import ElixirError


def told_columns(source: TableSource) -> dict[str, dict[int, Any]]:
    """The columns that hold one and the same value in all rows of a label: that value, null too, for each label.

    None where labels have fewer than two rows on average: any column of unique values would then be told by the label.
    """
    labels = np.fromiter((sample.label for sample in source.samples), np.int32, len(source.samples))
    labelled = labels[labels >= 0]
    if len(labelled) < 2 * len(np.unique(labelled)):
        return {}
    told = {}
    for column in source.rows.schema:
        if column.name != source.label and holds_labels(column.type):
            with suppress(ElixirError, UnicodeDecodeError):  # text that is no UTF-8 is copied, whatever it says
                if values := _values(source.rows, column.name, labels):
                    told[column.name] = values
    return told


def _values(rows: Rows, column: str, labels: np.ndarray) -> dict[int, Any] | None:
    """The value of each label, None if a label has several."""
    values: dict[int, Any] = {}
    start = 0
    for piece in rows.column(column):
        if pa.types.is_dictionary(piece.type):
            piece = piece.cast(piece.type.value_type)
        pairs = pa.table({"label": labels[start : start + len(piece)], "value": piece})
        start += len(piece)
        for pair in pairs.group_by(["label", "value"]).aggregate([]).to_pylist():
            if pair["label"] >= 0 and values.setdefault(pair["label"], pair["value"]) != pair["value"]:
                return None
    return values
