"""The linear noise schedule of DDPM (Ho et al. 2020, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor

BETAS = (1e-4, 0.02)  # of the first time and the last


def kept_variance(times: int) -> Tensor:
    """Share of the image's variance that is left at each time (abar), float64 (times,)."""
    return torch.cumprod(1 - torch.linspace(*BETAS, times, dtype=torch.float64), 0)
