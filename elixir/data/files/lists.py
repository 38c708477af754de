"""Files with a row for each image, CSV or JSON: read, and rewritten with the rows that do not change as they were.

See `elixir.data.files.image_list` for what the rows mean.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from elixir.data.io import reason
from elixir.data.paths import printable
from elixir.errors import ElixirError

CSV_ENDINGS = (".csv", ".tsv")
JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
LARGEST_LIST = 128 << 20  # bytes; a larger file is not read as a list
DELIMITERS = ",;\t"

_BOM = "\ufeff"
_CRLF = "\r\n"
_LINE_END = re.compile(r"\r\n|\r|\n")


def is_list_name(path: str) -> bool:
    """Whether a file is called like a list."""
    return PurePosixPath(path).suffix.lower() in (*CSV_ENDINGS, *JSON_ENDINGS)


@dataclass(frozen=True)
class Row:
    """One row of a list.

    Attributes:
        before: what stands between the row before and this one.
        text: as it stands in the file, with the end of the line for what is written in lines.
        line: its first line in the file, from 1.
        values: by column; one may be missing.
    """

    before: str
    text: str
    line: int
    values: dict[str, Any]


@dataclass
class ListFile:
    """A list: `head`, rows, `tail`.

    Attributes:
        place: where it is, for people.
        columns: names of all columns, in order.
    """

    place: str
    columns: list[str]
    head: str
    rows: list[Row]
    tail: str = ""

    def changed(self, row: Row, values: Mapping[str, Any]) -> Row:
        """The row with other values in some columns."""
        now = {**row.values, **values}
        return replace(row, text=self._text(row, now), values=now)

    def adopted(self, row: Row) -> Row:
        """A row of another list of this kind with the same columns."""
        text = self._text(self.rows[0], row.values) if self.rows else row.text
        return Row(self.rows[-1].before if self.rows else "", text, row.line, row.values)

    def with_rows(self, rows: Iterable[Row]) -> bytes:
        """The file with these rows instead."""
        parts = [self.head]
        for number, row in enumerate(rows):
            parts.append(row.before if number or not self.rows else self.rows[0].before)
            parts.append(row.text)
        return "".join([*self._joined(parts), self.tail]).encode("utf-8", "surrogateescape")

    def _joined(self, parts: list[str]) -> list[str]:
        return parts

    def _text(self, row: Row, values: Mapping[str, Any]) -> str:
        """A row of these values, written like `row`."""
        raise NotImplementedError


class _Lines(ListFile):
    """A list of which every row ends with its line."""

    def _joined(self, parts: list[str]) -> list[str]:
        end = _LINE_END.search(self.head + (self.rows[0].text if self.rows else ""))
        ended = [
            part if part in ("", _BOM) or part[-1] in "\r\n" else part + (end[0] if end else "\n") for part in parts
        ]
        return [*ended[:-1], parts[-1]]


@dataclass
class _Csv(_Lines):
    delimiter: str = ","

    def _text(self, row: Row, values: Mapping[str, Any]) -> str:
        cells = next(csv.reader(io.StringIO(row.text, newline=""), delimiter=self.delimiter), [])
        cells += [""] * (len(self.columns) - len(cells))
        for position, column in enumerate(self.columns):
            if values.get(column) != row.values.get(column):
                cells[position] = str(values.get(column, ""))
        buffer = io.StringIO(newline="")
        csv.writer(buffer, delimiter=self.delimiter, lineterminator=_CRLF).writerow(cells)  # so both are quoted
        return buffer.getvalue().removesuffix(_CRLF) + _end_of(row.text)


class _JsonLines(_Lines):
    def _text(self, row: Row, values: Mapping[str, Any]) -> str:
        return _json(row.text, values) + _end_of(row.text)


class _JsonArray(ListFile):
    def _text(self, row: Row, values: Mapping[str, Any]) -> str:
        return _json(row.text, values)

    def adopted(self, row: Row) -> Row:
        last = self.rows[-1].before if len(self.rows) > 1 else ", "
        return replace(super().adopted(row), before=last)


def read_list(file: Path, place: str) -> ListFile:
    """Read a list; `place` is how to call it.

    Raises: ElixirError: it is none (no header, no rows, not UTF-8 ...), or is too large.
    """
    try:
        size = file.stat().st_size
        if size > LARGEST_LIST:
            raise ElixirError(f"{place} is too large for a list of images ({size:,} bytes); cut it into smaller ones")
        data = file.read_bytes()
    except OSError as error:
        raise ElixirError(f"{place} cannot be read: {reason(error)}; check it") from error
    if b"\0" in data:
        raise ElixirError(f"{place} is no text in UTF-8; save it as such")
    text = data.decode("utf-8", "surrogateescape")
    if not text.removeprefix(_BOM).strip():
        raise ElixirError(f"{place} is empty")
    if place.lower().endswith(JSON_ENDINGS):
        return _read_json(place, text)
    return _read_csv(place, text)


def _read_csv(place: str, text: str) -> ListFile:
    lines = list(io.StringIO(text.removeprefix(_BOM), newline=""))
    first = next(line for line in lines if line.strip())
    delimiter = "\t" if place.lower().endswith(".tsv") else max(DELIMITERS, key=first.count)
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    columns: list[str] = []
    rows: list[Row] = []
    head, before, start = "", "", 0
    try:
        for cells in reader:
            raw, line, start = "".join(lines[start : reader.line_num]), start + 1, reader.line_num
            if not any(cells):
                before += raw
            elif not columns:
                columns, head, before = [cell.strip() for cell in cells], before + raw, ""
            else:
                rows.append(Row(before, raw, line, dict(zip(columns, cells, strict=False))))
                before = ""
    except csv.Error as error:
        what = f"{place}, line {reader.line_num}, cannot be understood as CSV: {error}"
        raise ElixirError(f"{what}; correct it, with text that holds {delimiter!r} in quotes") from error
    named = [column for column in columns if column]
    if len(set(named)) < len(named):
        raise ElixirError(f"{place} has two columns of one name in its header; rename one")
    bom = _BOM if text.startswith(_BOM) else ""
    return _Csv(place, columns, bom + head, rows, before, delimiter)


def _read_json(place: str, text: str) -> ListFile:
    body = text.removeprefix(_BOM)
    bom = _BOM if text.startswith(_BOM) else ""
    if body.lstrip().startswith("["):
        return _read_array(place, body, bom)
    rows: list[Row] = []
    before = ""
    for line, raw in enumerate(io.StringIO(body, newline=""), 1):
        if raw.strip():
            rows.append(Row(before, raw, line, _object(place, line, raw)))
            before = ""
        else:
            before += raw
    return _JsonLines(place, _columns(rows), bom, rows, before)


def _read_array(place: str, body: str, bom: str) -> ListFile:
    decoder = json.JSONDecoder(object_pairs_hook=_pairs)
    blank = re.compile(r"\s*")
    position = body.index("[") + 1
    head, rows, line = bom + body[:position], [], body.count("\n", 0, position) + 1
    after = position
    try:
        while True:
            start = blank.match(body, after).end()  # type: ignore[union-attr]
            if rows and body[start : start + 1] == ",":
                start = blank.match(body, start + 1).end()  # type: ignore[union-attr]
            elif rows or body[start : start + 1] == "]":
                break
            values, end = decoder.raw_decode(body, start)
            line += body.count("\n", after, start)
            rows.append(Row(body[after:start], body[start:end], line, _checked(place, line, values)))
            line += body.count("\n", start, end)
            after = end
    except (ValueError, RecursionError) as error:
        raise ElixirError(f"{place} cannot be understood as JSON: {error}; correct it") from error
    if body[start:].strip() != "]":
        raise ElixirError(f"{place} is not one JSON array; correct it")
    return _JsonArray(place, _columns(rows), head, rows, body[after:])


def _object(place: str, line: int, text: str) -> dict[str, Any]:
    try:
        values = json.loads(text, object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as error:
        raise ElixirError(f"{place}, line {line}, cannot be understood as JSON: {error}; correct it") from error
    return _checked(place, line, values)


def _checked(place: str, line: int, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ElixirError(f"{place}, line {line}, is no JSON object; give one for each image")
    for value in values.values():
        if isinstance(value, str) and re.search("[\ud800-\udc7f\udd00-\udfff]", value):
            raise ElixirError(f"{place}, line {line}, has text that is none ({ascii(value)[:80]}); correct it")
    return values


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("an object has two values of one name")
    return values


def _columns(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.values))


def _json(like: str, values: Mapping[str, Any]) -> str:
    """These values as JSON, with spaces and escapes as in an object that is there."""
    there = json.loads(like)
    for separators in ((", ", ": "), (",", ":")):
        for as_ascii in (False, True):
            if json.dumps(there, ensure_ascii=as_ascii, separators=separators) == like.strip():
                return json.dumps(values, ensure_ascii=as_ascii, separators=separators)
    return json.dumps(values, ensure_ascii="\\u" in like, indent=_indent(like))


def _indent(like: str) -> int | None:
    """The spaces before the values of an object that is written in several lines."""
    found = re.match(r"\{\s*\n([ ]*)", like)
    return len(found[1]) if found else None


def _end_of(line: str) -> str:
    found = re.search(r"[\r\n]*\Z", line)
    return found[0] if found else ""


def shown(columns: Iterable[str]) -> str:
    """The columns of a list, for messages."""
    return "its columns: " + ", ".join(printable(column)[:40] for column in list(columns)[:20])
