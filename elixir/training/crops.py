"""What denoisers are trained on: crops of many scales, contrasts and tints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from elixir.data.source import Source
from elixir.errors import ElixirError
from elixir.progress import Progress
from elixir.training.pixels import training_pixels

CPU = torch.device("cpu")
RESIDENT = 2**33  # bytes of images that are kept on a GPU


@dataclass(frozen=True)
class TrainingImages:
    """Images of one size, read a few at a time.

    Args:
        read: maps int64 indices (n,) on the CPU to uint8 images (n, 3, size, size) there or on the training's device.
        count: number of images that `read` knows.
        size: their height and width, at least twice the side of the crops taken from them.
    """

    read: Callable[[Tensor], Tensor]
    count: int
    size: int


@contextmanager
def cached_images(
    source: Source, size: int, crop: int, out: Path, progress: Progress, device: torch.device = CPU
) -> Iterator[TrainingImages]:
    """Cache the images of a source in `out` + '.pixels' until the training is done; labels do not matter.

    A GPU gets a copy of them if there are not too many, so that it does not wait for the disk.

    Args:
        source: the images; samples without a label are left out.
        size: side in pixels at which they are read, at least twice `crop`.
        crop: side of the crops that will be taken.
        out: the file that is being trained.
        progress: shows the reading.
        device: where to train.

    Raises:
        ElixirError: `size` is too small, there is no readable image, or `out` cannot be written.
    """
    if size < 2 * crop:
        raise ElixirError(f"size {size} is too small: training needs images of at least {2 * crop} pixels")
    with training_pixels(source, size, out, progress) as (store, rows):
        if device.type != "cuda" or 3 * size**2 * len(rows) > RESIDENT:
            yield TrainingImages(store.read, len(rows), size)
            return
        pixels = store.read(torch.arange(len(rows))).to(device)
        yield TrainingImages(lambda wanted: pixels[_moved(wanted, device)], len(rows), size)


def sample_crops(
    images: TrainingImages, crop: int, batch: int, generator: torch.Generator, device: torch.device = CPU
) -> Tensor:
    """One batch of float images (n, 3, h, h) in [0,1]: shrunken, enlarged or native crops, flipped and re-exposed.

    A quarter of the batches are native crops of twice the size (and a quarter of the number), a sixth is enlarged and
    therefore smooth, the rest is shrunken by a factor between 1 and size / crop.

    Args:
        images: to choose from.
        crop: height and width, in pixels.
        batch: number of crops.
        generator: on the CPU; decides everything.
        device: where the work is done and the result is.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    def moved(x: Tensor) -> Tensor:
        return _moved(x, device)

    size, kind = images.size, uniform(0, 1).item()
    if kind < 0.25:
        crop, batch = 2 * crop, max(1, batch // 4)
        window = crop
    elif kind < 0.42:
        window = round(uniform(crop / 2, crop).item())
    else:
        window = round(uniform(crop, size).item())
    whole = moved(images.read(torch.randint(images.count, (batch,), generator=generator))).float() / 255
    offsets = torch.randint(size - window + 1, (batch, 2), generator=generator).tolist()
    x = torch.stack([im[:, i : i + window, j : j + window] for im, (i, j) in zip(whole, offsets, strict=True)])
    if window != crop:
        x = F.interpolate(x, size=(crop, crop), mode="bicubic", antialias=True).clamp(0, 1)
    flip = moved(uniform(0, 1, batch, 1, 1, 1) < 0.5)
    x = torch.where(flip, x.flip(-1), x)
    exposed = moved(uniform(0, 1, batch, 1, 1, 1) < 0.4)
    gain, tint = uniform(0.15, 1.0, batch, 1, 1, 1), uniform(0.8, 1.0, batch, 3, 1, 1)
    offset = uniform(0, 1, batch, 1, 1, 1) ** 3 * (1 - gain)
    x = torch.where(exposed, x * moved(gain) * moved(tint) + moved(offset), x)
    grey = moved(uniform(0, 1, batch, 1, 1, 1) < 0.05)
    return torch.where(grey, x.mean(1, keepdim=True).expand_as(x), x)


def _moved(x: Tensor, device: torch.device) -> Tensor:
    """On `device`; a copy to a GPU is from pinned memory, because any other waits for the GPU to be idle."""
    if device.type != "cuda" or x.is_cuda:
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
