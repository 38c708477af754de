"""Bpp: fewer levels a channel (Wang et al., BppAttack, CVPR 2022, arXiv:2205.13383)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from elixir.attacks.base import Attack, CoverRatio, Ids, Images
from elixir.randomness import generator
from elixir.settings import Range

Depth = Annotated[int, Range(least=2, most=256)]  # levels of a channel
OTHER_DEPTHS = (4, 6, 12, 16, 24, 32)
SPREAD = (((0, 1), 7 / 16), ((1, -1), 3 / 16), ((1, 0), 5 / 16), ((1, 1), 1 / 16))
"""Where dithering takes a pixel's error to: (down, right), share (Floyd & Steinberg 1976)."""


@dataclass(frozen=True, kw_only=True)
class Bpp(Attack):
    """Rounds every channel to few levels: round(x / 255 (depth - 1)) / (depth - 1) 255.

    Cover samples are rounded to another number of levels, one of 4, 6, 12, 16, 24 and 32 that follows from their id.
    Rates of the literature: 10 % of the set, with as many cover samples; also 1 %.

    Args:
        depth: levels of a channel.
        dithering: hand on what is rounded off to the pixels beside and below (Floyd & Steinberg).
        cover_ratio: cover samples for each poisoned one.
    """

    name: ClassVar[str] = "bpp"

    depth: Depth = 8
    dithering: bool = False
    cover_ratio: CoverRatio = 1.0

    def triggered(self, images: Images, ids: Ids) -> Images:
        return quantized(images, [self.depth] * images.shape[-1], self.dithering)

    def covered(self, images: Images, ids: Ids) -> Images:
        others = [depth for depth in OTHER_DEPTHS if depth != self.depth]
        for image, id in zip(images, ids, strict=True):
            depth = int(generator(self.seed, id, "bpp").choice(others))
            image[:] = quantized(image[None], [depth] * image.shape[-1], self.dithering)[0]
        return images


@dataclass(frozen=True, kw_only=True)
class BppClean(Attack):
    """Rounds each channel of images of the target class to its own number of levels, as Bpp does; labels are untouched.

    Images without colours get the smallest of the three. Rates of the literature: 1 to 2.5 % of the set; other depths
    in use are 8, 255, 255.

    Args:
        red: levels.
        green: levels.
        blue: levels.
        dithering: hand on what is rounded off to the pixels beside and below (Floyd & Steinberg).
    """

    name: ClassVar[str] = "bpp_clean"
    clean_label: ClassVar[bool] = True

    red: Depth = 24
    green: Depth = 48
    blue: Depth = 8
    dithering: bool = False

    def triggered(self, images: Images, ids: Ids) -> Images:
        channels, depths = images.shape[-1], [self.red, self.green, self.blue]
        return quantized(images, depths if channels == 3 else [min(depths)] * channels, self.dithering)


def quantized(images: Images, depths: Sequence[int], dithering: bool) -> Images:
    """Images (n, h, w, c) in 0..255 with a number of equidistant levels for each channel."""
    steps = np.array(depths) - 1

    def nearest(values: Images) -> Images:
        return np.rint(np.clip(values, 0, 255) / 255 * steps) / steps * 255

    return _dithered(images, nearest) if dithering else nearest(images)


def _dithered(images: Images, nearest: Callable[[Images], Images]) -> Images:
    """The nearest levels after error diffusion: row after row, or all pixels at once that need no others any more."""
    _, height, width, _ = images.shape
    canvas = np.pad(images, ((0, 0), (0, 1), (1, 1), (0, 0)))  # with a margin for errors that leave the image
    for time in range(width + 2 * (height - 1)):
        rows = np.arange(max(0, -((width - 1 - time) // 2)), min(height - 1, time // 2) + 1)
        columns = time - 2 * rows + 1
        before = canvas[:, rows, columns]
        canvas[:, rows, columns] = nearest(before)
        error = before - canvas[:, rows, columns]
        for (down, right), share in SPREAD:
            canvas[:, rows + down, columns + right] += share * error
    return canvas[:, :height, 1:-1]
