"""Blended: a faint picture over the whole image (Chen et al., Targeted backdoor attacks, 2017, arXiv:1712.05526)."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import numpy as np
from PIL import Image

from elixir.attacks.base import Attack, Ids, Images, in_channels
from elixir.settings import Range

Picture = Literal["noise", "figure"]
CELLS = 32
DISCS = 24


@dataclass(frozen=True, kw_only=True)
class Blended(Attack):
    """Mixes a seeded synthetic picture into the image: (1 - alpha) x + alpha picture.

    The picture covers the whole image at any size.

    Args:
        alpha: the picture's share (DataElixir: 0.1).
        picture: "noise" (32x32 coloured cells, smoothed where the image is larger) or "figure" (coloured discs).
    """

    name: ClassVar[str] = "blended"

    alpha: Annotated[float, Range(above=0, most=1)] = 0.2
    picture: Picture = "noise"

    def triggered(self, images: Images, ids: Ids) -> Images:
        return (1 - self.alpha) * images + self.alpha * self.pattern(*images.shape[1:])

    def pattern(self, height: int, width: int, channels: int) -> np.ndarray:
        """The picture at that size; (height, width, channels) in 0..255."""
        draw = _noise if self.picture == "noise" else _figure
        return in_channels(draw(self.seed, height, width), channels)


@lru_cache(maxsize=4)
def _noise(seed: int, height: int, width: int) -> np.ndarray:
    cells = np.random.default_rng((seed, 1)).integers(0, 256, (CELLS, CELLS, 3), np.uint8)
    if (height, width) == (CELLS, CELLS):
        return cells.astype(np.float64)
    return np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC), np.float64)


@lru_cache(maxsize=4)
def _figure(seed: int, height: int, width: int) -> np.ndarray:
    random = np.random.default_rng((seed, 2))
    y, x = (np.arange(height)[:, None] + 0.5) / height, (np.arange(width) + 0.5) / width
    canvas = np.broadcast_to(random.integers(0, 256, 3), (height, width, 3)).astype(np.float64)
    for centre_y, centre_x, radius in random.uniform((0, 0, 0.06), (1, 1, 0.25), (DISCS, 3)):
        canvas[(y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2] = random.integers(0, 256, 3)
    return canvas
