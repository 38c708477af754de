"""Streams of `datasets`: read once, into a temporary folder, for sets larger than the cache."""

import hashlib
from collections.abc import Iterator
from typing import Any

import datasets
import datasets.table
import pyarrow as pa

from elixir.data.io import read_json, temporary_folder
from elixir.data.tables.hf import ArrowRows, ArrowWriter, about_of, plain_names
from elixir.data.tables.table import Choice, TableSource
from elixir.errors import ElixirError


class StreamRows(ArrowRows):
    """The rows of a stream, with encoded images as they are, copied to a temporary folder that is deleted with them.

    It lies where TMPDIR says and takes the size of the encoded images. Raises: ElixirError: the stream
    breaks, does not tell the types of its columns, or there is no room for it.
    """

    def __init__(self, stream: datasets.IterableDataset, split: str) -> None:
        if not stream.features:
            remedy = "pass features=datasets.Features(...) to map, or use .cast(datasets.Features(...))"
            raise ElixirError(f"the stream does not tell the types of its columns; {remedy}")
        folder = temporary_folder(self)
        writer = ArrowWriter(folder, stream.features.arrow_schema, split, about_of(vars(stream.info)))
        for row in _rows(stream, writer.schema):
            writer.add(row)
        writer.close()
        super().__init__(sorted(folder.glob("*.arrow")), split, writer.about)
        self._digest = str(read_json(folder / "state.json", "run again")["_fingerprint"])

    def fingerprint(self) -> str:
        """See `Rows.fingerprint`: from the contents, as files are new each time."""
        return hashlib.sha256(self._digest.encode()).hexdigest()


def open_stream(src: datasets.IterableDataset | datasets.IterableDatasetDict, choice: Choice) -> TableSource:
    """A stream, or one of several; this costs a local copy of its encoded images, see `StreamRows`."""
    given = src if isinstance(src, dict) else {src.split or "train": src}
    splits: dict[str, Any] = {str(name): part for name, part in given.items()}
    split = choice.split_of(plain_names(list(splits), "the stream"), "the stream")
    rows = StreamRows(splits.pop(split), split)
    source = TableSource.of(rows, "hf", f"stream of {rows.parts[0][1]} rows ({split})", choice, split)
    if splits:
        source.notes.append(f"other splits were not looked at and are not in the output: {', '.join(splits)}")
    return source


def _rows(stream: datasets.IterableDataset, schema: pa.Schema) -> Iterator[pa.Table]:
    """All rows; images that are only named are read from their files, and are none where there is no file."""
    count = 0
    try:
        tables: Any = stream.with_format("arrow")
        for table in tables:
            row = table.cast(schema)
            try:
                yield datasets.table.embed_table_storage(row)
            except FileNotFoundError:
                yield row
            count += 1
    except ElixirError:
        raise
    except Exception as error:  # networks, archives and functions that are mapped raise anything
        what = f"the stream breaks at row {count}: {type(error).__name__}: {error}"
        raise ElixirError(f"{what}; run again, or load it without streaming=True") from error
