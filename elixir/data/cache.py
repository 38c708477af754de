"""All readable, labelled images of a source in a pixel store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from elixir.data.decode import decode, resize
from elixir.data.pixels import PixelStore
from elixir.data.source import Source
from elixir.errors import UnreadableSample


def cache_pixels(
    source: Source, path: Path, size: int, advance: Callable[[int], None] = lambda steps: None
) -> tuple[PixelStore, np.ndarray]:
    """Decode every sample once and write it at one size; samples that cannot be read or have no label are left out.

    Args:
        source: the images.
        path: of the store to make.
        size: height and width of its records.
        advance: called with the number of samples just done.

    Returns:
        The store, and the row in the source of each of its records, int64.
    """
    store = PixelStore(path, size)
    rows: list[int] = []
    for row, sample in enumerate(source.samples):
        advance(1)
        if sample.problem or sample.label < 0:
            continue
        try:
            image = resize(decode(source.read(row)).rgb, size)
        except UnreadableSample:
            continue
        store.write(np.array([len(rows)]), image.transpose(2, 0, 1)[None])
        rows.append(row)
    return store, np.array(rows, np.int64)
