"""Adap-Blend: half of a faint picture (Qi et al., Revisiting the assumption of latent separability, ICLR 2023)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from elixir.attacks.base import CoverRatio, Ids, Images
from elixir.attacks.blended import Blended
from elixir.randomness import generator
from elixir.settings import Range

PIECES = 4  # along each side


@dataclass(frozen=True, kw_only=True)
class AdapBlend(Blended):
    """Blends a random half of 4x4 pieces of Blended's picture into each training image, all of them in test images.

    Cover samples look like poisoned ones. Rates of the literature: .3 % of the set, 1 %, and 2 % at 64 pixels, with as
    many cover samples.

    Args:
        training_alpha: the picture's share in training images; `alpha` is that in test images.
        cover_ratio: cover samples for each poisoned one.
    """

    name: ClassVar[str] = "adap_blend"

    training_alpha: Annotated[float, Range(above=0, most=1)] = 0.15
    cover_ratio: CoverRatio = 1.0

    def poisoned(self, images: Images, ids: Ids) -> Images:
        height, width, channels = images.shape[1:]
        rows, columns = (np.arange(side) * PIECES // side for side in (height, width))
        shown = np.stack([self.pieces(id)[rows[:, None], columns] for id in ids])[..., None]
        return images + self.training_alpha * shown * (self.pattern(height, width, channels) - images)

    def covered(self, images: Images, ids: Ids) -> Images:
        return self.poisoned(images, ids)

    def pieces(self, id: str) -> np.ndarray:
        """Which pieces a training sample shows, half of them, bool (4, 4)."""
        order = generator(self.seed, id, "adap_blend").permutation(PIECES**2)
        return (order < PIECES**2 // 2).reshape(PIECES, PIECES)
