"""Training data of denoisers: crops of many scales, contrasts and tints."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

CPU = torch.device("cpu")
NATIVE, ENLARGED = 0.25, 0.17
"""Shares of the batches that are native crops of twice the size, and enlarged ones; the rest is shrunken."""
LEAST_WINDOW = 0.5  # side of the smallest window that is enlarged to a crop, as a share of the crop's
FLIPPED, EXPOSED, GREY = 0.5, 0.4, 0.05
"""Shares of the images that are mirrored, darkened and tinted, and made grey."""
GAINS, TINTS = (0.15, 1.0), (0.8, 1.0)
"""Ranges of the contrast of an image that is darkened, and of each of its channels."""
OFFSET_POWER = 3
"""Such an image is made brighter by u^OFFSET_POWER of what its contrast leaves, for u uniform in [0,1]."""


@dataclass(frozen=True)
class TrainingImages:
    """Images of one size, at least twice the side of the crops taken from them, read a few at a time.

    `read` maps int64 indices (n,) on the CPU to uint8 (n, 3, size, size) there or on the training's device.
    """

    read: Callable[[Tensor], Tensor]
    count: int
    size: int


def sample_crops(
    images: TrainingImages, crop: int, batch: int, generator: torch.Generator, device: torch.device = CPU
) -> Tensor:
    """One batch of float images (n, 3, h, h) in [0,1]: shrunken, enlarged or native crops, flipped and re-exposed.

    A batch is native, of twice the side `crop` and a quarter of the number (probability `NATIVE`); enlarged and
    therefore smooth (`ENLARGED`); or shrunken by a factor between 1 and size / crop. `generator`, on the CPU, decides
    everything; the result is on `device`.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    moved = partial(moved_to, device=device)
    size, kind = images.size, uniform(0, 1).item()
    if kind < NATIVE:
        crop, batch = 2 * crop, max(1, batch // 4)
        window = crop
    elif kind < NATIVE + ENLARGED:
        window = round(uniform(LEAST_WINDOW * crop, crop).item())
    else:
        window = round(uniform(crop, size).item())
    whole = moved(images.read(torch.randint(images.count, (batch,), generator=generator))).float() / 255
    offsets = torch.randint(size - window + 1, (batch, 2), generator=generator).tolist()
    x = torch.stack([im[:, i : i + window, j : j + window] for im, (i, j) in zip(whole, offsets, strict=True)])
    if window != crop:
        x = F.interpolate(x, size=(crop, crop), mode="bicubic", antialias=True).clamp(0, 1)
    flip = moved(uniform(0, 1, batch, 1, 1, 1) < FLIPPED)
    x = torch.where(flip, x.flip(-1), x)
    exposed = moved(uniform(0, 1, batch, 1, 1, 1) < EXPOSED)
    gain, tint = uniform(*GAINS, batch, 1, 1, 1), uniform(*TINTS, batch, 3, 1, 1)
    offset = uniform(0, 1, batch, 1, 1, 1) ** OFFSET_POWER * (1 - gain)
    x = torch.where(exposed, x * moved(gain) * moved(tint) + moved(offset), x)
    grey = moved(uniform(0, 1, batch, 1, 1, 1) < GREY)
    return torch.where(grey, x.mean(1, keepdim=True).expand_as(x), x)


def moved_to(x: Tensor, device: torch.device) -> Tensor:
    """On `device`; a copy to a GPU is from pinned memory, because any other waits for the GPU to be idle."""
    if device.type != "cuda" or x.is_cuda:
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
