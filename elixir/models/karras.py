"""Noise levels for solvers and for consistency models."""

from __future__ import annotations

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
