"""The figures behind a certificate: exact binomial bounds and the radius that follows from them."""

from __future__ import annotations

from scipy.special import betaincinv, ndtri


def lower_bound(hits: int, draws: int, alpha: float) -> float:
    """A bound that the true probability of a hit exceeds with probability 1 - alpha or more (Clopper, Pearson 1934).

    Args:
        hits: 0 to `draws`.
        draws: independent ones, at least 1.
        alpha: one-sided, in (0,1).
    """
    return float(betaincinv(hits, draws - hits + 1, alpha)) if hits else 0.0


def upper_bound(hits: int, draws: int, alpha: float) -> float:
    """A bound that the true probability of a hit stays below with probability 1 - alpha or more; see `lower_bound`."""
    return float(betaincinv(hits + 1, draws - hits, 1 - alpha)) if hits < draws else 1.0


def certified_radius(sigma: float, lower: float) -> float:
    """L2 radius within which a smoothed prediction cannot change: sigma * Phi^-1(pA), 0 for pA of 1/2 or less.

    Cohen et al. 2019, theorem 1, with 1 - pA as bound for the probability of any other class.

    Args:
        sigma: deviation of the noise; the radius is in the same units.
        lower: lower bound of the probability pA of the predicted class, less than 1.
    """
    return sigma * float(ndtri(lower)) if lower > 0.5 else 0.0


def largest_radius(sigma: float, draws: int, alpha: float) -> float:
    """The radius where every draw is a hit: more cannot be certified with so many draws."""
    return certified_radius(sigma, lower_bound(draws, draws, alpha))
