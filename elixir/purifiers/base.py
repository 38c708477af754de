"""The one interface behind which diffusion, consistency, masked and classical purifiers are interchangeable.

A purifier is registered by a loader in the group `elixir.purifiers`, `load(model: str | None, device: torch.device)`.
`model` is a file, a folder or a hub name, None for what ships with the package. Loaders raise ElixirError if it is not
found, damaged, a pickle, or of another kind.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

CPU_BATCH, CPU_PIXELS = 16, 2**15
CUDA_BATCH, CUDA_PIXELS = 256, 2**22
"""Most images and most pixels that a network gets at once; measured to be fastest."""

ImageMap = Callable[[Tensor], Tensor]


class Purifier(Protocol):
    """Removes from images what does not survive noise.

    The result for an image does not depend on its batch: the same bits in a batch of 1, 16 or 256.

    Attributes:
        nfe: number of function evaluations, the network calls that one `purify` or `denoise` costs for each image.
        net: optional; the network, None if there is none, whose operations are counted.
        without_noise: optional; true for a purifier that also works at sigma 0.
    """

    nfe: int

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        """Add noise to images and denoise them: float32 (n, 3, h, w) in [0,1] to the same, any h and w.

        `noise` is standard normal; `sigma` > 0 is its deviation afterwards, in [0,1] pixel units.
        """
        ...

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        """Estimate of E[clean | noisy], float32 (n, 3, h, w), not clipped.

        `noisy` are images in [0,1] plus Gaussian noise of deviation `sigma` > 0 in these units, not clipped.
        """
        ...


class Denoiser:
    """A purifier defined by its `denoise`: `purify` adds the noise before it and clamps to [0,1] after it."""

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        return self.denoise(x + sigma * noise, sigma).clamp_(0, 1)

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        raise NotImplementedError


def batch_size(height: int, width: int, device: torch.device) -> int:
    """Images that a network gets at once; depends on the image size and the kind of device alone."""
    most, pixels = (CPU_BATCH, CPU_PIXELS) if device.type == "cpu" else (CUDA_BATCH, CUDA_PIXELS)
    return max(1, min(most, pixels // (height * width)))


def in_fixed_batches(function: ImageMap, x: Tensor, size: int) -> Tensor:
    """Apply `function` to batches of exactly `size` images, the last one filled up with copies of its last image.

    Convolution libraries choose an algorithm, and with it the order of summation, by the shape of the batch: with one
    shape for all, the bits of a result depend on its own image only.
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
    """Apply `function` to overlapping tiles of side `tile`, in pixels, and put the inner parts together.

    Exact for a function whose output at a pixel depends on pixels nearer than `margin` only: so many are cut off where
    a tile has a neighbour. `tile` is greater than 2 * margin.
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
