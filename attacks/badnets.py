"""BadNets: a small patch in the corner (Gu et al., BadNets, 2017, arXiv:1708.06733)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from elixir.attacks.base import Attack, Ids, Images, in_channels

Pattern = Literal["dataelixir", "white"]
KEEP = np.nan  # in a pattern: this channel of the image stays as it is
BLOCKS = np.array([[(255, 255, KEEP), (255, KEEP, 255)], [(KEEP, 255, 255), (122, 122, 122)]])
PATTERNS: dict[str, np.ndarray] = {
    "dataelixir": BLOCKS.repeat(2, axis=0).repeat(2, axis=1),
    "white": np.full((3, 3, 3), 255.0),
}


@dataclass(frozen=True, kw_only=True)
class BadNets(Attack):
    """Overwrites the bottom-right corner with a patch.

    The patch has the same size in pixels whatever the size of the image; an image smaller than the patch gets as much
    of its bottom-right part as fits.

    Args:
        pattern: "dataelixir" (4x4: three blocks of 2x2 with two channels at 255 and the third as it was, one block of
            grey 122) or "white" (3x3). In images without colours a block has the grey level of its colour.
    """

    name: ClassVar[str] = "badnets"

    pattern: Pattern = "dataelixir"

    def triggered(self, images: Images, ids: Ids) -> Images:
        _, height, width, channels = images.shape
        pattern = PATTERNS[self.pattern]
        patch = (pattern if channels == 3 else in_channels(np.nan_to_num(pattern), channels))[-height:, -width:]
        corner = images[:, -patch.shape[0] :, -patch.shape[1] :]
        corner[:] = np.where(np.isnan(patch), corner, patch)
        return images
