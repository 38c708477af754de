"""All images of a run at one small size, on disk, read back a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from elixir.data.image import decode_small
from elixir.data.parallel import cores, in_order
from elixir.data.records import Records
from elixir.data.source import Source
from elixir.errors import ElixirError, UnreadableSample

BLOCK = 2**22
AT_ONCE = 256  # samples that are decoded before they are written


def in_parts(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Indices (n,) in parts of `size`, in order; the last one may be smaller."""
    return (indices[start : start + size] for start in range(0, len(indices), size))


def blocks(records: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The records (n,) in parts, in order, so many at once that their images fill 4 MB as float64."""
    return in_parts(records, max(1, BLOCK // (8 * int(np.prod(shape)))))


class PixelStore(Records):
    """Records of uint8 (3, size, size)."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__(path, (3, size, size), np.uint8)

    def read(self, indices: Tensor | np.ndarray) -> Tensor:
        """Read records at int64 indices (n,), in their order: uint8 (n, 3, size, size), a copy."""
        wanted = np.asarray(indices, np.int64)
        if not len(wanted):
            return torch.empty((0, *self.shape), dtype=torch.uint8)
        records = self.mapped()
        if wanted.min() < 0 or wanted.max() >= len(records):
            raise ElixirError(f"{self.path} holds {len(records)} images, not number {wanted.max()}; index again")
        return torch.from_numpy(records[wanted])


def cache_pixels(
    source: Source,
    path: Path,
    size: int,
    advance: Callable[[int], None] = lambda steps: None,
    workers: int | None = None,
) -> tuple[PixelStore, np.ndarray]:
    """Decode every sample once and write it at one size.

    Samples that cannot be read are left out, and so are those without a label of a source that has classes.

    Args:
        source: the samples.
        path: of the store.
        size: height and width of its records in pixels.
        advance: is told how many samples more are done.
        workers: threads that decode; one for each core by default.

    Returns the store, and the row in the source of each record, int64.
    """
    store = PixelStore(path, size)
    rows: list[int] = []

    def read(part: range) -> Iterator[tuple[int, bytes]]:
        for row in part:
            sample = source.samples[row]
            if sample.problem or (source.classes and sample.label < 0):
                continue
            with suppress(UnreadableSample):
                yield row, source.read(row)

    def decoded(item: tuple[int, bytes]) -> tuple[int, np.ndarray] | None:
        row, data = item
        try:
            image, _ = decode_small(data, size)
        except UnreadableSample:
            return None
        return row, image.transpose(2, 0, 1)

    for start in range(0, len(source.samples), AT_ONCE):
        part = range(start, min(start + AT_ONCE, len(source.samples)))
        done = [each for each in in_order(decoded, read(part), workers or cores()) if each]
        if done:
            store.write(np.arange(len(rows), len(rows) + len(done)), np.stack([image for _, image in done]))
        rows += [row for row, _ in done]
        advance(len(part))
    return store, np.array(rows, np.int64)
