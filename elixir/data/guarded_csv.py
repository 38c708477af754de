"""CSV files with the text of strangers in them, such as ids and names of classes.

A spreadsheet takes a cell that begins with one of `FORMULA` for a formula. Such cells, and those that begin with an
apostrophe, are written behind an apostrophe, which `text` takes away again.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from elixir.data.io import replacing

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]], encoding: str = "utf-8") -> int:
    """Write a file with a header, through a temporary name; columns that a row lacks are empty. Returns its rows."""
    count = 0
    with (
        replacing(path, path.with_name(path.name + ".partial")) as partial,
        partial.open("w", encoding=encoding, newline="", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: cell(value) if isinstance(value, str) else value for name, value in row.items()})
            count += 1
    return count


def cell(text: str) -> str:
    """Any text as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith((*FORMULA, "'")) else text


def text(cell: str) -> str:
    """What a cell says; an apostrophe that nobody had to write is part of it."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*FORMULA, "'")) else cell
