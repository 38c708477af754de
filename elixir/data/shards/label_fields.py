"""Labels of WebDataset samples: text of a member, or a value in a JSON object, read and replaced."""

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from elixir.data.paths import printable
from elixir.data.tables.find_columns import LABEL_NAMES
from elixir.data.tables.labels import Labels, holds_labels, read_labels
from elixir.errors import ElixirError, explaining

TEXT_FIELD, JSON_FIELD = "cls", "json"
NAMES_FILE = "classnames.txt"
"""File beside shards with the names of the classes, one a line, for labels that are numbers of lines from 0."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True)
class LabelField:
    """Which field of a sample has its label: as text or, with a `key`, in a JSON object."""

    name: str
    key: str | None = None

    def __str__(self) -> str:
        return self.name if self.key is None else f"{self.name}:{self.key}"

    def value(self, data: bytes) -> Any:
        """The label that bytes of the field hold, None for none."""
        try:
            if self.key is None:
                return data.strip().decode() or None
            value = json.loads(data)[self.key]
            json.dumps(value, ensure_ascii=False).encode()
            return value
        except (ValueError, LookupError, TypeError, RecursionError):
            return None

    def with_value(self, data: bytes, value: Any) -> bytes:
        """The same bytes with another label; nothing else in them changes."""
        if self.key is None:
            old, new = data.strip(), str(value).encode()
            return data.replace(old, new, 1) if old else new
        encoding = json.detect_encoding(data)
        text = data.decode(encoding)
        start, end = _place(text, self.key)
        return (text[:start] + json.dumps(value, ensure_ascii=False) + text[end:]).encode(encoding)


def find_label_field(
    given: str | None, fields: Collection[str], example: Callable[[str], bytes], location: str
) -> LabelField:
    """The field that is named ("cls", "json:label"), or can be told from those of some samples.

    `example` gives the bytes of one of them for a field. Raises: ElixirError: it is not there, or cannot be told.
    """
    name, _, key = (given or "").partition(":")
    name = name.lower() or (TEXT_FIELD if TEXT_FIELD in fields else JSON_FIELD)
    if name not in fields:
        listed = printable(", ".join(sorted(fields)[:20]))
        what = f"has no field {given!r}" if given else f"has neither a field {TEXT_FIELD!r} nor a field {JSON_FIELD!r}"
        remedy = "name that of the labels with --label; if folders in the archive are the classes, unpack it (tar -xf)"
        raise ElixirError(f"{location} {what} but {listed}; {remedy}")
    if key or name.rpartition(".")[2] != JSON_FIELD:
        return LabelField(name, key or None)
    try:
        content = json.loads(example(name))
    except (ValueError, RecursionError):
        content = None
    keys = list(content) if isinstance(content, dict) else []
    found = [key for key in LABEL_NAMES if key in keys]
    if len(found) != 1:
        listed = printable(", ".join(keys[:20])) or "none"
        what = f"cannot tell which key of field {name!r} of {location} has the labels"
        raise ElixirError(f"{what}; name it with --label {name}:KEY; its keys: {listed}")
    return LabelField(name, found[0])


def number_labels(found: list[Any], field: LabelField, location: str, id_of: Callable[[int], str]) -> Labels:
    """What `read_labels` makes of the labels of all samples; text is integers if all of it is.

    Raises: ElixirError: they are of several types, or of one that is no label.
    """
    if field.key is None:
        odd = [number for number, value in enumerate(found) if value is not None and not _INTEGER.fullmatch(value)]
        if not odd:
            found = [None if value is None else int(value) for value in found]
        elif field.name == TEXT_FIELD and len(odd) < len(found) - found.count(None):
            what = f"the label {printable(found[odd[0]][:40])!r} where others have integers"
            raise ElixirError(f"{id_of(odd[0])} has {what}; correct it, or name another field with --label")
    remedy = "write whole numbers or text alone, or name another field with --label"
    with explaining((pa.ArrowException, OverflowError), f"the labels in {field} of {location} are not alike", remedy):
        values = pa.array(found)
    if not (pa.types.is_null(values.type) or holds_labels(values.type)):
        raise ElixirError(f"the labels in {field} of {location} are of type {values.type}; {remedy}")
    return read_labels([values], None, str(field), location)


def read_names(file: Path) -> list[str]:
    """The names of classes in a file such as `NAMES_FILE`; none if it is no text."""
    try:
        return [line.strip() for line in file.read_text("utf-8").rstrip("\n").split("\n")]
    except (OSError, UnicodeError):
        return []


def _place(text: str, key: str) -> tuple[int, int]:
    """Where the value of a key stands in a JSON object; the last one counts."""
    decoder = json.JSONDecoder()
    place, at = (0, 0), _past(text, text.index("{") + 1)
    while text[at] != "}":
        name, at = decoder.raw_decode(text, at)
        start = _past(text, _past(text, at) + 1)  # the colon
        _, end = decoder.raw_decode(text, start)
        if name == key:
            place = start, end
        at = _past(text, end)
        if text[at] == ",":
            at = _past(text, at + 1)
    return place


def _past(text: str, at: int) -> int:
    """The next place that is no white space."""
    match = _SPACE.match(text, at)
    return match.end() if match else at
