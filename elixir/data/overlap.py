"""Where a source lies on disk, so that no output is written into it or over it."""

import os
from pathlib import Path
from typing import Any

import datasets

from elixir.data.files.folder import FileSource
from elixir.data.io import real_path
from elixir.data.objects.samples import ObjectRows, image_files
from elixir.data.paths import escape, unescape
from elixir.data.shards.webdataset import WebDatasetSource
from elixir.data.source import Source
from elixir.data.tables.hf import DatasetRows
from elixir.data.tables.table import TableSource, has_paths
from elixir.errors import ElixirError


def place_of(source: Source) -> Path:
    """The folder, file or pattern that a source was opened from; nothing is there if it is not one of the disk."""
    return source.root if isinstance(source, FileSource) else Path(unescape(source.location)).resolve()


def refuse_overlap(source: Source, dst: Path, around: bool = False) -> None:
    """Raise an ElixirError for an output that lies in what a source is read from or, but for `around`, holds it."""
    dst = real_path(dst)
    for place in (path.resolve() for path in _places(source)):
        here, there = escape(str(place)), escape(str(dst))
        if _same(place, dst):
            raise ElixirError(f"source and destination are the same: {there}; give another folder with -o")
        if any(_same(place, parent) for parent in dst.parents):
            raise ElixirError(f"the destination {there} lies inside the source {here}; give a folder outside of it")
        if not around and any(_same(parent, dst) for parent in place.parents):
            raise ElixirError(f"the source {here} lies inside the destination {there}; give another folder with -o")


def _same(one: Path, other: Path) -> bool:
    """Whether both are there and are one and the same, under whatever name."""
    return one.exists() and other.exists() and one.samefile(other)


def _places(source: Source) -> list[Path]:
    """The files and folders on disk that a source is read from."""
    location = Path(unescape(source.location)).absolute()
    archive = next((path for path in (location, *location.parents) if path.is_file()), None)
    opened = source.places if isinstance(source, FileSource) else [place_of(source)]
    places = [place for place in (*opened, archive) if place and place.exists()]
    if isinstance(source, TableSource):
        for part in (source.rows, *(source.siblings or {}).values()):
            places += _files(part)
        places += _image_folders(source)
    if isinstance(source, WebDatasetSource):
        places += [*source.files, *source.copies.values()]
    return places


def _files(part: Any) -> list[Path]:
    """Those that rows or a sibling (see `TableSource`) are read from."""
    if isinstance(part, Path):
        return [part]
    if isinstance(part, DatasetRows):
        part = part.dataset
    if isinstance(part, datasets.Dataset):
        return [Path(file["filename"]).parent for file in part.cache_files]
    return list(part if isinstance(part, list) else getattr(part, "files", []))


def _image_folders(source: TableSource) -> set[Path]:
    """The folders of image files that a `datasets` or torch dataset does not hold but names."""
    if isinstance(source.rows, ObjectRows):
        paths = image_files(source.rows.dataset)
    elif isinstance(source.rows, DatasetRows) and has_paths(source.rows, source.image):
        paths = [path for piece in source.rows.column(source.image, "path") for path in piece.to_pylist()]
    else:
        paths = []
    named = {os.path.dirname(path) for path in paths if isinstance(path, str | Path)}  # noqa: PTH120 - there are many
    return {Path(folder) for folder in named if folder and Path(folder).is_dir()}
