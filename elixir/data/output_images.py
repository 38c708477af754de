"""The images of a finished run, before and after, from what lies in its output."""

import hashlib
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from elixir.data.backup import FILES
from elixir.data.io import RUN_FOLDER, read_json
from elixir.data.manifest import current_names, where
from elixir.data.paths import escape, unescape
from elixir.data.shards.index import Group, bytes_at, read_groups
from elixir.data.tables.hf import saved_rows
from elixir.data.tables.parquet import ParquetRows
from elixir.data.tables.table import Rows
from elixir.errors import ElixirError

CHANGED = "the output of the run was changed or is not complete"

ImageReader = Callable[[str, str], bytes]
"""Gives an image by its place in the output, as the manifest has it, and its digest."""


class OutputImages:
    """The images of an output by the row of its manifest, of any kind; fastest for ascending rows.

    Args:
        dst: absolute path of what `sanitize` has written.
        manifest: see `elixir.data.manifest.read_manifest`.

    Raises: ElixirError: `dst` is no such output.
    """

    def __init__(self, dst: Path, manifest: pa.Table) -> None:
        self._dst = dst
        columns = ("id", "output", "original", "sha256_in", "sha256_out")
        self._id, self._output, self._original, self._in, self._out = (_Texts(manifest[name]) for name in columns)
        self._decodable = manifest["height"].to_numpy() > 0
        if where(manifest, "output", "").all() and where(manifest, "original", "").all():
            what = f"{escape(str(dst))} holds no images, as a scan writes none"
            raise ElixirError(f"{what}, nor does --labels-only; sanitize first")
        facts = read_json(dst / RUN_FOLDER / "restore.json", "give the output folder of a finished run")
        self._facts = current_names(facts)
        self._column = self._facts.get("image") or "image"
        self._read_output = image_reader(dst, self._facts, self._column)
        self._archives = _Shards()
        self._rows: dict[str, NumberedRows] = {}

    def before(self, row: int) -> bytes | None:
        """The encoded image in the input; None if it could not be decoded. Raises: ElixirError: it is not there."""
        digest = self._in[row]
        if not digest or not self._decodable[row]:
            return None
        unchanged = self._out[row] == digest
        data = self._read_output(self._output[row], digest) if unchanged else self._kept(row, digest)
        return self._checked(row, data, digest)

    def after(self, row: int) -> bytes | None:
        """The encoded image in the output; None if it is the one of the input, or there is none. Raises: likewise."""
        digest = self._out[row]
        if not digest or digest == self._in[row]:
            return None
        return self._checked(row, self._read_output(self._output[row], digest), digest)

    def _kept(self, row: int, digest: str) -> bytes:
        """What the backup holds; see `elixir.data.backup`."""
        place = self._original[row]
        file = inside(self._dst, unescape(place))
        if self._facts["kind"] in FILES:
            return read_file(file)
        if self._facts["kind"] == "webdataset":
            keys = (key for _, key in _splits(self._id[row]))
            return self._archives.image(((file, key) for key in keys), digest)
        if place not in self._rows:
            self._rows[place] = NumberedRows(file)
        return image_of(self._rows[place].row(row), self._column)

    def _checked(self, row: int, data: bytes, digest: str) -> bytes:
        if hashlib.sha256(data).hexdigest() != digest:
            raise ElixirError(f"the image of {self._id[row]} is not what it was; {CHANGED}")
        return data


def image_reader(dst: Path, facts: dict[str, Any], column: str) -> ImageReader:
    """What reads the images of an output; `facts` are those of its `restore.json`, `column` is that of a table.

    Only of shards the digest decides which member is read, so that of others it has to be checked.
    """
    if facts["sink"] in FILES:
        return lambda output, _: read_file(inside(dst, unescape(output)))
    if facts["sink"] == "webdataset":
        shards, files = _Shards(), {stem: inside(dst, unescape(place)) for stem, place in facts["outputs"]}
        return lambda output, digest: shards.image(
            ((files[stem], key) for stem, key in _splits(output) if stem in files), digest
        )
    rows = output_rows(dst, facts)
    return lambda output, _: image_of(rows.row(output), column)


class _Texts:
    """The values of a column of text, one at a time."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __getitem__(self, row: int) -> str:
        return self._column[row].as_py()


class NumberedRows:
    """Some rows of the source, found by their number there."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._rows = ParquetRows([file], [file.stem])
        self._number = self._rows.schema.names[-1]
        numbers = [piece.to_numpy() for piece in self._rows.column(self._number)]
        self._numbers = np.concatenate([*numbers, np.empty(0, np.int64)])

    def row(self, number: int) -> pa.Table:
        position = int(np.searchsorted(self._numbers, number))
        if position == len(self._numbers) or self._numbers[position] != number:
            raise ElixirError(f"{self.file} lacks row {number} of the input; {CHANGED}")
        return self._rows.row(position).drop_columns([self._number])


class OutputRows:
    """Rows of an output table, found by what the manifest says of them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        starts = accumulate((count for _, count in rows.parts), initial=0)
        self._parts = {stem: (start, count) for (stem, count), start in zip(rows.parts, starts, strict=False)}

    def row(self, output: str) -> pa.Table:
        stem, _, row = output.rpartition("/")
        start, count = self._parts.get(stem, (0, 0))
        if not row.isdecimal() or int(row) >= count:
            raise ElixirError(f"the output has no row {output}; {CHANGED}")
        return self._rows.row(start + int(row))


class _Shards:
    """Images in shards, of which the last one stays known."""

    def __init__(self) -> None:
        self._file = Path()
        self._groups: dict[str, Group] = {}

    def image(self, places: Iterator[tuple[Path, str]], digest: str) -> bytes:
        """The member with this digest at one of some places, each a shard and an escaped key."""
        for file, key in places:
            if file != self._file:
                groups, _ = read_groups(file)
                self._file, self._groups = file, {escape(group.key): group for group in groups}
            for member in self._groups[key].fields.values() if key in self._groups else ():
                data = bytes_at(file, member.data, member.size)
                if hashlib.sha256(data).hexdigest() == digest:
                    return data
        raise ElixirError(f"{escape(str(self._file))} lacks an image of the run; {CHANGED}")


def output_rows(dst: Path, facts: dict[str, Any]) -> OutputRows:
    """The rows of an output that is a table."""
    stems, places = zip(*facts["outputs"], strict=True)
    if facts["sink"] == "parquet":
        return OutputRows(ParquetRows([inside(dst, place) for place in places], list(stems)))
    return OutputRows(saved_rows(inside(dst, places[0]), stems[0]))


def image_of(row: pa.Table, column: str) -> bytes:
    """The encoded image of a row: a struct with bytes, or bytes."""
    value = row.column(column)[0].as_py()
    data = value.get("bytes") if isinstance(value, dict) else value
    if data is None:
        raise ElixirError(f"a row lacks its image in the column {column!r}; {CHANGED}")
    return data


def read_file(file: Path) -> bytes:
    """What a file of the output holds; an ElixirError if it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise ElixirError(f"{escape(str(file))} cannot be read: {error.strerror}; {CHANGED}") from error


def inside(folder: Path, path: str) -> Path:
    """A place in a folder, of a path that may be hostile; "" is the folder itself."""
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ElixirError(f"{path[:80]!r} is no path inside a folder; {CHANGED}")
    return folder / path


def _splits(place: str) -> Iterator[tuple[str, str]]:
    """All that may be the stem of a shard and the key of a sample: either may have slashes in it."""
    parts = place.split("/")
    for cut in range(1, len(parts)):
        yield "/".join(parts[:cut]), "/".join(parts[cut:])
