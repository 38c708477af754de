"""Image files that a dataset names instead of holding: whoever made it chose the paths, and they are read from here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import datasets.config
import huggingface_hub.constants as hub
import pyarrow as pa

from elixir.data.rows import Rows

REMOTE = ("hf", "http", "https")


def stray_file(rows: Rows) -> str | None:
    """The first file that downloaded rows name which is neither remote nor in a Hugging Face cache."""
    caches = [Path(os.path.realpath(place)) for place in (datasets.config.HF_DATASETS_CACHE, hub.HF_HUB_CACHE)]
    nested = [column.name for column in rows.schema if pa.types.is_nested(column.type)]
    paths = (path for name in nested for values in rows.column(name) for path in _named(values))
    return next((path for path in paths if not _allowed(path, caches)), None)


def _named(values: pa.Array) -> Iterator[str]:
    """The paths of all files, however deep, whose bytes are not there."""
    if pa.types.is_struct(values.type):
        fields = dict(zip((field.name for field in values.type), values.flatten(), strict=True))
        if {"bytes", "path"} <= fields.keys():
            yield from fields["path"].filter(fields["bytes"].is_null()).drop_null().to_pylist()
        for field in fields.values():
            yield from _named(field)
    elif pa.types.is_nested(values.type) and hasattr(values, "flatten"):
        yield from _named(values.flatten())


def _allowed(path: str, caches: list[Path]) -> bool:
    file = path.rpartition("::")[2]  # what a chain such as zip://image.png::archive.zip opens on disk
    scheme, separator, _ = file.partition("://")
    if separator:
        return scheme in REMOTE
    real = Path(os.path.realpath(file))
    return any(real.is_relative_to(cache) for cache in caches)
