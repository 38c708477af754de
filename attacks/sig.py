"""SIG: sinusoidal stripes, labels untouched (Barni et al., A new backdoor attack in CNNs, 2019, arXiv:1902.11237)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from elixir.attacks.base import Attack, Ids, Images, Levels
from elixir.settings import Range


@dataclass(frozen=True, kw_only=True)
class Sig(Attack):
    """Adds delta sin(2 pi j frequency / width) at column j, the same in every row and channel.

    Args:
        delta: amplitude in levels of 255.
        frequency: periods over the width of the image.
    """

    name: ClassVar[str] = "sig"
    clean_label: ClassVar[bool] = True

    delta: Levels = 40
    frequency: Annotated[float, Range(above=0, most=255)] = 6

    def triggered(self, images: Images, ids: Ids) -> Images:
        width = images.shape[2]
        return images + self.delta * np.sin(2 * np.pi * np.arange(width) * self.frequency / width)[:, None]
