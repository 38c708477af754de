"""Input diversity: attacks that see the image now smaller, now elsewhere (Xie et al. 2019, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

PROBABILITY = 0.5
SMALLEST = 0.9


def diverse(x: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the images, each with draws of its own, shrunk to .9 to 1 of their size and put somewhere on black.

    Args:
        x: (n, c, h, w).
        generator: on the device of `x`.

    Returns:
        Of the shape of `x`, differentiable.
    """
    chosen, size, across, down = torch.rand(4, len(x), generator=generator, device=x.device)
    kept = torch.where(chosen < PROBABILITY, SMALLEST + (1 - SMALLEST) * size, torch.ones_like(size))
    theta = torch.zeros(len(x), 2, 3, device=x.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / kept
    theta[:, 0, 2] = (2 * across - 1) * (1 - kept) / kept
    theta[:, 1, 2] = (2 * down - 1) * (1 - kept) / kept
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)
