"""The pictures that stages repair: those of one size together, and each kept where the emit stage finds it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from elixir.data.image import Picture, encode
from elixir.data.io import replacing
from elixir.engine.run import Run

BYTES_AT_ONCE = 2**28


def keep_selected(run: Run, row: int, picture: Picture, rgb: np.ndarray) -> None:
    """Keep the new image (uint8 (h, w, 3)) of a row for the emit stage, as PNG with the picture's alpha and tags."""
    path = run.selected_path(row)
    with replacing(path, path.with_suffix(".partial")) as partial:
        path.parent.mkdir(exist_ok=True)
        partial.write_bytes(encode(picture, rgb))


def same_size(run: Run, rows: np.ndarray, copies: int) -> Iterator[np.ndarray]:
    """Indices of rows whose images have the same height and width, as many as fit in memory with all candidates."""
    shapes = run.shapes[rows]
    for shape in np.unique(shapes, axis=0):
        indices = np.flatnonzero((shapes == shape).all(1))
        size = max(1, BYTES_AT_ONCE // (copies * 3 * int(shape.prod())))
        yield from (indices[start : start + size] for start in range(0, len(indices), size))
