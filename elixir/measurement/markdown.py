"""Results as Markdown tables, on their own or between two marks of a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from elixir.data.io import replace_text
from elixir.errors import ElixirError


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A caption and a table below it; no cell can break the table or end a comment."""
    lines = [_plain(caption), "", _line(head), "|" + "---|" * len(head), *map(_line, rows)]
    return "\n".join(lines) + "\n"


def insert(path: Path, text: str, marks: tuple[str, str]) -> None:
    """Put text between the two marks of a Markdown file.

    Raises:
        ElixirError: the file has no such marks.
    """
    before, start, rest = path.read_text(encoding="utf-8").partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not start or not end:
        raise ElixirError(f"{path} has no lines {marks[0]} and {marks[1]} to put the results between")
    replace_text(path, f"{before}{start}\n{text}{end}{after}")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_plain, cells)) + " |"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
