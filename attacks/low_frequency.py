"""Low-Frequency: a smooth pattern over the whole image (after Zeng et al. 2021, arXiv:2104.03413), from a seed."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from elixir.attacks.base import Attack, Ids, Images, Levels, in_channels
from elixir.settings import Count


@dataclass(frozen=True, kw_only=True)
class LowFrequency(Attack):
    """Adds random cosines of few periods, at most `waves` half periods along each side.

    Args:
        peak: largest absolute value of the pattern, in levels of 255.
        waves: half periods along a side at most.
    """

    name: ClassVar[str] = "low_frequency"

    peak: Levels = 51
    waves: Count = 4

    def triggered(self, images: Images, ids: Ids) -> Images:
        _, height, width, channels = images.shape
        return images + self.peak * _smooth(self.seed, self.waves, height, width, channels)


@lru_cache(maxsize=4)
def _smooth(seed: int, waves: int, height: int, width: int, channels: int) -> np.ndarray:
    """Cosines up to `waves` half periods with random weights, without a constant, (h, w, c); largest value 1."""
    weights = np.random.default_rng((seed, 3)).standard_normal((waves + 1, waves + 1, 3))
    weights[0, 0] = 0
    rows, columns = (
        np.cos(np.pi * np.outer((np.arange(side) + 0.5) / side, np.arange(waves + 1))) for side in (height, width)
    )
    pattern = in_channels(np.einsum("iu,jv,uvc->ijc", rows, columns, weights), channels)
    return pattern / max(np.abs(pattern).max(), 1e-12)
