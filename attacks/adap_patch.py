"""Adap-Patch: one of four patches (Qi et al., Revisiting the assumption of latent separability, ICLR 2023)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elixir.attacks.base import Attack, CoverRatio, Ids, Images, in_channels
from elixir.randomness import generator

Colour = tuple[int, int, int]
PARTS = 4  # a patch is one of so many parts of a side


@dataclass(frozen=True)
class Patch:
    """A drawing in two colours.

    Attributes:
        figure: where the first colour is: a function of rows (h, 1) and columns (1, w) in (0,1), bool (h, w).
        opacity: in training images.
        corner: row and column, 0 for the top or the left, 1 for the bottom or the right.
    """

    figure: Callable[[np.ndarray, np.ndarray], np.ndarray]
    colours: tuple[Colour, Colour]
    opacity: float
    corner: tuple[int, int]

    def blend(self, images: Images, opacity: float) -> None:
        """Put it into images (..., h, w, c)."""
        *_, height, width, channels = images.shape
        size = [max(1, side // PARTS) for side in (height, width)]
        rows, columns = ((np.arange(side) + 0.5) / side for side in size)
        inside = self.figure(rows[:, None], columns[None])
        picture = in_channels(np.where(inside[..., None], *np.array(self.colours, np.float64)), channels)
        top, left = ((whole - part) * at for whole, part, at in zip((height, width), size, self.corner, strict=True))
        there = images[..., top : top + size[0], left : left + size[1], :]
        there += opacity * (picture - there)


PATCHES = (
    Patch(lambda y, x: abs(np.hypot(y - 0.5, x - 0.5) - 0.35) < 0.15, ((255, 255, 0), (0, 0, 255)), 0.5, (0, 0)),
    Patch(lambda y, x: (abs(y - 0.5) < 0.15) | (abs(x - 0.5) < 0.15), ((255, 255, 255), (255, 0, 0)), 0.2, (0, 1)),
    Patch(lambda y, x: (4 * y // 1 + 4 * x // 1) % 2 == 1, ((255, 255, 255), (0, 0, 0)), 0.5, (1, 0)),
    Patch(lambda y, x: (2 * (y + x)) % 1 < 0.5, ((0, 255, 0), (128, 0, 128)), 0.3, (1, 1)),
)
"""A ring, a cross, squares and stripes."""
TEST_PATCHES = (PATCHES[0], PATCHES[2])


@dataclass(frozen=True, kw_only=True)
class AdapPatch(Attack):
    """Blends one of four patches into each training image, and puts two of them, opaque, into test images.

    Each patch has a corner of its own and is a quarter of the image high and wide. Which one a sample gets follows from
    `seed` and its id; cover samples look like poisoned ones. Rates of the literature: .3 % of the set, .5 % for
    traffic signs, with twice as many cover samples.

    Args:
        cover_ratio: cover samples for each poisoned one.
    """

    name: ClassVar[str] = "adap_patch"

    cover_ratio: CoverRatio = 2.0

    def triggered(self, images: Images, ids: Ids) -> Images:
        for patch in TEST_PATCHES:
            patch.blend(images, 1)
        return images

    def poisoned(self, images: Images, ids: Ids) -> Images:
        for image, id in zip(images, ids, strict=True):
            patch = PATCHES[generator(self.seed, id, "adap_patch").integers(len(PATCHES))]
            patch.blend(image, patch.opacity)
        return images

    def covered(self, images: Images, ids: Ids) -> Images:
        return self.poisoned(images, ids)
