"""Image files that a dataset names instead of holding: whoever made it chose the paths, and they are read from here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import datasets
import datasets.config
import huggingface_hub.constants as hub
import pyarrow as pa

REMOTE = ("hf", "http", "https")


def stray_file(dataset: datasets.Dataset) -> str | None:
    """The first file named in a downloaded dataset that is neither remote nor in a Hugging Face cache.

    Args:
        dataset: as `datasets.load_dataset` gives it for a name on the hub.
    """
    caches = [Path(os.path.realpath(place)) for place in (datasets.config.HF_DATASETS_CACHE, hub.HF_HUB_CACHE)]
    stored = dataset.with_format("arrow")
    nested = [name for name in stored.column_names if pa.types.is_nested(stored.features.arrow_schema.field(name).type)]
    for name in nested:
        table: pa.Table
        for table in stored.select_columns([name]).iter(256):  # pyright: ignore[reportAssignmentType]
            for chunk in table.column(0).chunks:
                for path in _named(chunk):
                    if not _allowed(path, caches):
                        return path
    return None


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
    scheme, separator, _ = path.rpartition("::")[2].partition("://")
    if separator:
        return scheme in REMOTE
    real = Path(os.path.realpath(path.rpartition("::")[2]))
    return any(real.is_relative_to(cache) for cache in caches)
