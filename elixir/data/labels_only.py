"""An output without images, which stay where they are: a file of new labels, and the way back to the input."""

import hashlib
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from elixir.data.files.folder import FileSource
from elixir.data.guarded_csv import write_csv
from elixir.data.io import ROWS_AT_ONCE, copy, is_readable_file, reading_again
from elixir.data.manifest import lists, texts
from elixir.data.open import open_source, place_again
from elixir.data.output_images import inside
from elixir.data.overlap import place_of
from elixir.data.paths import printable, unescape
from elixir.data.shards.webdataset import WebDatasetSource
from elixir.data.source import Source
from elixir.data.tables.parquet import ParquetSource, files_by_split
from elixir.errors import ElixirError

LABELS_ONLY = "labels"
"""What `restore.json` has for the kind of such an output."""
LABELS_FILE = "labels.csv"
_MAKE_AGAIN = "as images were left where they are, make it what it was to have it restored"
COLUMNS = ("id", "label", "new_label", "action")


def write_labels(path: Path, manifest: pa.Table) -> None:
    """Write a CSV file with a row for every sample of a manifest (see `elixir.data.guarded_csv`).

    Labels are names of classes. `label` is empty for none, `new_label` where the sample should be left out.
    """
    write_csv(path, COLUMNS, _labels(manifest))


def _labels(manifest: pa.Table) -> Iterator[dict[str, str]]:
    columns = manifest.select(["id", "class", "new_class", "action"]).rename_columns(list(COLUMNS))
    for batch in columns.to_batches(ROWS_AT_ONCE):
        yield from batch.to_pylist()


def facts_of_input(src: Any, **options: Any) -> dict[str, Any]:
    """What `restore.json` says of such an output: what `open_source` was given, in words that hold in any folder.

    It alone of all records tells a place of the machine, as the images were left there (see `elixir.data.paths`).
    """
    return {"sink": LABELS_ONLY, "src": place_again(src), "options": options}


def open_again(facts: dict[str, Any]) -> Source:
    """The input of the run, where it was. Raises: ElixirError: it is not there, or cannot be found again."""
    if facts["src"] is None or facts["src"].startswith("hf:"):
        what = f"the input was {facts['src'] or 'an object of Python'}, and nothing of it was written"
        raise ElixirError(f"{what}: it is where you had it from")
    try:
        return open_source(facts["src"], **facts["options"])
    except ElixirError as error:
        what = f"the input cannot be read where its images were left: {error}"
        raise ElixirError(f"{what}; put it back as it was") from error


def copy_input(source: Source, manifest: pa.Table, out: Path) -> int:
    """Copy the files of an input to a new folder; returns the samples whose bytes the run has read.

    Files that hold no samples are copied as they are now.

    Raises: ElixirError: the input has other samples, labels or images than the manifest, or is no files.
    """
    before, count = source.fingerprint(), 0
    if not lists(manifest, source.samples):
        raise ElixirError(f"{source.location} has other samples or labels than the run has read; {_MAKE_AGAIN}")
    for row, digest in enumerate(texts(manifest["sha256_in"])):
        if not digest:
            continue
        id = source.samples.id(row)
        with reading_again(id):
            data = source.read(row)
        if hashlib.sha256(data).hexdigest() != digest:
            raise ElixirError(f"{printable(id)} of {source.location} has changed since the run; {_MAKE_AGAIN}")
        count += 1
    _copy_files(source, out)
    if source.fingerprint() != before:
        raise ElixirError(f"{source.location} has changed while it was copied; restore again when it is at rest")
    return count


def _copy_files(source: Source, out: Path) -> None:
    for folder in source.folders if isinstance(source, FileSource) else ():
        inside(out, unescape(folder)).mkdir(parents=True, exist_ok=True)
    links = []
    unfollowed = {unescape(source.samples.id(row)) for row in source.samples.problems}
    for path, file in _files(source):
        target = inside(out, path)
        if file.is_symlink() and path in unfollowed:
            links.append((target, file.readlink()))
        elif is_readable_file(file):
            copy(file, target, out.with_name("partial"))
    for target, to in links:  # last, so that nothing is written through a link
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(to)


def _files(source: Source) -> Iterator[tuple[str, Path]]:
    """The files of a source by their paths in a copy of it."""
    if isinstance(source, FileSource):
        paths = map(unescape, chain(source.samples.ids, source.others))
        return ((path, source.root / path) for path in paths)
    if isinstance(source, WebDatasetSource | ParquetSource):
        others = [Path(unescape(path)) for path in source.others]
        return ((str(path), source.root / path) for path in (*_paths_of_rows(source), *others))
    place = place_of(source)
    if place.is_dir():
        return ((os.path.relpath(path, place), path) for path in sorted(place.rglob("*")) if path.is_file())
    if place.is_file():
        return iter([(place.name, place)])
    raise ElixirError(f"{source.location} is no files of this machine, so that there are none to copy; it is as it was")


def _paths_of_rows(source: WebDatasetSource | ParquetSource) -> list[Path]:
    """The files of all splits below the root."""
    if isinstance(source, WebDatasetSource):
        return [*source.places, *source.copies]
    return [path for files in files_by_split(source).values() for path in files]
