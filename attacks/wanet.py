"""WaNet: a smooth warp (Nguyen & Tran, WaNet - Imperceptible warping-based backdoor attack, 2021, arXiv:2102.10369)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from elixir.attacks.base import Attack, CoverRatio, Ids, Images
from elixir.randomness import generator
from elixir.settings import Range


@dataclass(frozen=True, kw_only=True)
class WaNet(Attack):
    """Moves every pixel along one smooth random field; cover samples are moved by the field and noise of their own.

    Args:
        grid: the field is drawn on grid x grid points and made smooth (section 3.2).
        strength: mean displacement in pixels of a field of `grid` points is strength / 2; 0 leaves images as they are.
        cover_ratio: cover samples for each poisoned one.
    """

    name: ClassVar[str] = "wanet"

    grid: Annotated[int, Range(least=2)] = 4
    strength: Annotated[float, Range(least=0, below=100)] = 0.5
    cover_ratio: CoverRatio = 2.0

    def triggered(self, images: Images, ids: Ids) -> Images:
        height, width = images.shape[1:3]
        return _warped(images, self.displacement(height, width).expand(len(images), -1, -1, -1))

    def covered(self, images: Images, ids: Ids) -> Images:
        """The images, warped by the field plus uniform noise of up to 1/height at every pixel."""
        height, width = images.shape[1:3]
        own = np.stack([generator(self.seed, id, "wanet").uniform(-1, 1, (height, width, 2)) for id in ids])
        return _warped(images, self.displacement(height, width) + torch.from_numpy(own) / height)

    def displacement(self, height: int, width: int) -> Tensor:
        """The field in units of half a side, float64 (1, height, width, 2), x before y."""
        return self.strength * self.field(height, width) / height

    def field(self, height: int, width: int) -> Tensor:
        """The smooth field before it is scaled, float64 (1, height, width, 2); mean absolute value 1 on the grid."""
        points = torch.from_numpy(np.random.default_rng((self.seed, 4)).uniform(-1, 1, (1, 2, self.grid, self.grid)))
        points = points / points.abs().mean()
        return F.interpolate(points, (height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)


def _warped(images: Images, displacement: Tensor) -> np.ndarray:
    height, width = images.shape[1:3]
    y, x = torch.meshgrid(
        *(torch.linspace(-1, 1, side, dtype=torch.float64) for side in (height, width)), indexing="ij"
    )
    grid = (torch.stack((x, y), -1) + displacement).clamp(-1, 1)
    moved = F.grid_sample(torch.from_numpy(images).permute(0, 3, 1, 2), grid, mode="bilinear", align_corners=True)
    return moved.permute(0, 2, 3, 1).numpy()
