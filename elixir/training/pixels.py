"""The images that a training reads again and again, decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from elixir.data.pixels import PixelStore, cache_pixels
from elixir.data.source import Source
from elixir.errors import ElixirError
from elixir.models.weights import check_output
from elixir.progress import Progress


@contextmanager
def training_pixels(
    source: Source, size: int, out: Path, progress: Progress
) -> Iterator[tuple[PixelStore, np.ndarray]]:
    """Cache the images of a source in `out` + '.pixels' until the training is done.

    Args:
        source: the images; samples without a label are left out.
        size: side in pixels at which they are read.
        out: the file that is being trained.
        progress: shows the reading.

    Returns:
        See `cache_pixels`.

    Raises:
        ElixirError: there is no readable image, or `out` cannot be written.
    """
    check_output(out)
    cache = out.with_name(out.name + ".pixels")
    cache.unlink(missing_ok=True)
    with progress.task("reading", len(source.samples)) as advance:
        store, rows = cache_pixels(source, cache, size, advance)
    if not len(rows):
        raise ElixirError(f"{source.location} holds no readable image with a label to train on")
    with store:
        yield store, rows
    cache.unlink()
