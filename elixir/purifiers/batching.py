"""Results that do not depend on the batch size, and memory that does not depend on the image size."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

CPU_BATCH, CPU_PIXELS = 16, 2**15
CUDA_BATCH, CUDA_PIXELS = 256, 2**22
"""Most images and most pixels that a network gets at once; measured to be fastest."""

ImageMap = Callable[[Tensor], Tensor]


def batch_size(height: int, width: int, device: torch.device) -> int:
    """Images that a network gets at once; depends on the image size and the kind of device alone."""
    most, pixels = (CPU_BATCH, CPU_PIXELS) if device.type == "cpu" else (CUDA_BATCH, CUDA_PIXELS)
    return max(1, min(most, pixels // (height * width)))


def in_fixed_batches(function: ImageMap, x: Tensor, size: int) -> Tensor:
    """Apply `function` to batches of exactly `size` images, the last one filled up with copies of its last image.

    Convolution libraries choose an algorithm, and with it the order of summation, by the shape of the batch: with one
    shape for all, the bits of a result depend on its own image only.

    Args:
        function: maps (size, c, h, w) to the same shape.
        x: (n, c, h, w), any n.
        size: images a batch.
    """
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    for start in range(0, len(x), size):
        part = x[start : start + size]
        missing = size - len(part)
        if missing:
            part = torch.cat([part, part[-1:].expand(missing, -1, -1, -1)])
        out[start : start + size] = function(part)[: size - missing]
    return out


def in_tiles(function: ImageMap, x: Tensor, tile: int, margin: int) -> Tensor:
    """Apply `function` to overlapping tiles and put the inner parts together.

    Exact for a function whose output at a pixel depends on pixels nearer than `margin` only.

    Args:
        function: maps (n, c, h, w) to the same shape, any h and w.
        x: (n, c, h, w).
        tile: height and width of a tile with its margins, in pixels, greater than 2 * margin.
        margin: pixels that a tile shares with its neighbour and that are cut off.
    """
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    for top, rows, inner_rows in _spans(x.shape[-2], tile, margin):
        *whole, last = _spans(x.shape[-1], tile, margin)
        for same in (whole, [last]):  # of one shape: a batch
            if same:
                tiles = [x[..., top : top + tile, left : left + tile] for left, _, _ in same]
                parts = function(torch.cat(tiles)).split(len(x))
                for done, (_, columns, inner_columns) in zip(parts, same, strict=True):
                    out[..., rows, columns] = done[..., inner_rows, inner_columns]
    return out


def _spans(length: int, tile: int, margin: int) -> Iterator[tuple[int, slice, slice]]:
    """For each tile along one axis: its start, the part of the result it gives, the same part inside the tile."""
    begin = 0
    while begin < length:
        start = max(0, begin - margin)
        end = length if start + tile >= length else start + tile - margin
        yield start, slice(begin, end), slice(begin - start, end - start)
        begin = end
