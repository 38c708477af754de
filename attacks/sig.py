"""SIG: sinusoidal stripes, labels untouched (Barni et al., A new backdoor attack in CNNs, 2019, arXiv:1902.11237)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from elixir.attacks.base import Attack


@dataclass(frozen=True, kw_only=True)
class Sig(Attack):
    """Adds delta sin(2 pi j frequency / width) at column j, the same in every row and channel.

    Args:
        delta: amplitude in levels of 255, above 0.
        frequency: periods over the width of the image, above 0.

    Raises:
        ElixirError: a parameter is out of range.
    """

    name: ClassVar[str] = "sig"
    clean_label: ClassVar[bool] = True

    delta: float = 40
    frequency: float = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        self._positive("delta", 255)
        self._positive("frequency", 255)

    def triggered(self, images: NDArray[np.float64], ids: Sequence[str]) -> NDArray[np.float64]:
        """The images with the stripes."""
        width = images.shape[2]
        return images + self.delta * np.sin(2 * np.pi * np.arange(width) * self.frequency / width)[:, None]
