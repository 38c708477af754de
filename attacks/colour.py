"""Colour: one shift of the colours (Jiang et al., Color backdoor, CVPR 2023)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elixir.attacks.base import Attack, Ids, Images, Levels
from elixir.attacks.ftrojan import CB_CR


@dataclass(frozen=True, kw_only=True)
class Colour(Attack):
    """Shifts Cb and Cr of all pixels by one vector in YCbCr (ITU-R BT.601), whose direction follows from `seed`.

    In RGB this is one shift too. Images without colours become brighter by `shift`. Rates of the literature: 3 to 10 %
    of the set.

    Args:
        shift: length of the vector in levels of 255; 24 leaves about 21 dB, and looks like another light.
    """

    name: ClassVar[str] = "colour"

    shift: Levels = 24

    def triggered(self, images: Images, ids: Ids) -> Images:
        return images + (self.vector() if images.shape[-1] == 3 else self.shift)

    def vector(self) -> np.ndarray:
        """What is added to R, G and B, float64 (3,)."""
        angle = np.random.default_rng((self.seed, 5)).uniform(0, 2 * np.pi)
        return CB_CR @ (self.shift * np.array([np.cos(angle), np.sin(angle)]))
