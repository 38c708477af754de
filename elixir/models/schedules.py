"""Noise schedules: DDPM's linear one (Ho et al. 2020, section 4) and the grid and data scale of Karras et al. 2022."""

import torch
from torch import Tensor

DATA_MEAN, DATA_STD = 0.5, 0.25
"""Of pixels in [0,1]; all networks scale their inputs by them (as Karras et al. 2022, table 1, in [-1,1] units)."""
DDPM_TIMES = 1000
BETAS = (1e-4, 0.02)  # variance that the first and the last time add
RHO = 7.0  # see `karras_grid`


def kept_variance(times: int) -> Tensor:
    """Share of the image's variance that is left at each time (abar), float64 (times,)."""
    return torch.cumprod(1 - torch.linspace(*BETAS, times, dtype=torch.float64), 0)


def karras_grid(sigma_max: float, sigma_min: float, levels: int, rho: float = RHO) -> list[float]:
    """Falling noise levels, at least 2, equally spaced in sigma^(1/rho) (Karras et al. 2022, eq. 5); in any units."""
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    between = [(high + level / (levels - 1) * (low - high)) ** rho for level in range(1, levels - 1)]
    return [sigma_max, *between, sigma_min]
