"""The linear noise schedule of DDPM (Ho et al. 2020, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor

BETAS = (1e-4, 0.02)  # of the first time and the last


def kept_variance(times: int) -> Tensor:
    """Share of the image's variance that is left at each time (abar), float64 (times,)."""
    return torch.cumprod(1 - torch.linspace(*BETAS, times, dtype=torch.float64), 0)


RHO = 7.0


def karras_grid(sigma_max: float, sigma_min: float, levels: int, rho: float = RHO) -> list[float]:
    """Falling noise levels, equally spaced in sigma^(1/rho) (Karras et al. 2022, eq. 5).

    Args:
        sigma_max: the first, in any units.
        sigma_min: the last.
        levels: how many, at least 2.
        rho: the larger, the more of them are small.
    """
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    between = [(high + level / (levels - 1) * (low - high)) ** rho for level in range(1, levels - 1)]
    return [sigma_max, *between, sigma_min]
