"""FTrojan: two frequencies of the chroma (Wang et al., Backdoor attack through frequency domain, 2021)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from elixir.attacks.base import Attack, Ids, Images
from elixir.settings import Range

BLOCK = 32
FREQUENCIES = (15, 31)
CB_CR = np.array([[0, 1.402], [-0.344136, -0.714136], [1.772, 0]])
"""What a unit of Cb and of Cr adds to R, G and B (ITU-R BT.601, full range)."""


@dataclass(frozen=True, kw_only=True)
class FTrojan(Attack):
    """Adds to two coefficients of the discrete cosine transform of Cb and Cr, in every block of 32x32 pixels.

    The transform is linear, so that this is a fixed pattern. Images without colours get it in their grey levels.

    Args:
        magnitude: what is added to the orthonormal coefficients (15, 15) and (31, 31), in levels of 255.
    """

    name: ClassVar[str] = "ftrojan"

    magnitude: Annotated[float, Range(above=0, most=8192)] = 30

    def triggered(self, images: Images, ids: Ids) -> Images:
        _, height, width, channels = images.shape
        pattern = self.magnitude * chroma_pattern(height, width)
        weights = CB_CR.sum(1) if channels == 3 else np.ones(channels)
        return images + pattern[..., None] * weights


def chroma_pattern(height: int, width: int) -> np.ndarray:
    """A coefficient of 1 at (15, 15) and at (31, 31) of every block, (height, width); blocks at the edge are cut."""
    position = np.arange(BLOCK) + 0.5
    waves = [np.cos(np.pi * frequency * position / BLOCK) for frequency in FREQUENCIES]
    block = sum(np.outer(wave, wave) for wave in waves) * 2 / BLOCK
    return np.tile(block, (-(-height // BLOCK), -(-width // BLOCK)))[:height, :width]
