"""Bounds against scipy, radii against the values of Cohen et al.'s procedure."""

import numpy as np
import pytest
from scipy.stats import beta, binomtest, norm

from elixir.certification.bound import certified_radius, largest_radius, lower_bound, upper_bound


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.5])
@pytest.mark.parametrize(("hits", "draws"), [(0, 1), (1, 1), (0, 100), (3, 100), (99, 100), (100, 100), (9951, 10000)])
def test_bounds_are_clopper_pearson(hits: int, draws: int, alpha: float):
    greater = binomtest(hits, draws, alternative="greater").proportion_ci(1 - alpha, "exact")
    less = binomtest(hits, draws, alternative="less").proportion_ci(1 - alpha, "exact")
    assert lower_bound(hits, draws, alpha) == pytest.approx(greater.low, rel=1e-10)
    assert upper_bound(hits, draws, alpha) == pytest.approx(less.high, rel=1e-10)
    if hits:
        assert lower_bound(hits, draws, alpha) == pytest.approx(beta.ppf(alpha, hits, draws - hits + 1), rel=1e-10)


@pytest.mark.parametrize(
    ("sigma", "draws", "radius"),
    [
        (0.25, 10_000, 0.7996),
        (0.5, 10_000, 1.599),
        (1.0, 10_000, 3.199),
        (0.25, 1000, 0.616),
        (0.5, 1000, 1.232),
        (1.0, 1000, 2.463),
    ],
)
def test_largest_radii(sigma: float, draws: int, radius: float):
    assert largest_radius(sigma, draws, 0.001) == pytest.approx(radius, abs=0.0006)
    assert largest_radius(sigma, draws, 0.001) == pytest.approx(sigma * norm.ppf(0.001 ** (1 / draws)))


def test_nothing_is_certified_up_to_a_half():
    assert certified_radius(0.5, 0.3) == certified_radius(0.5, 0.5) == 0
    assert certified_radius(0.5, 0.5 + 1e-9) > 0


@pytest.mark.parametrize("probability", [0.02, 0.5, 0.8, 0.99])
def test_coverage(probability: float):
    """Of 20,000 bounds at level alpha not more than alpha fail, within four standard errors."""
    alpha, draws, times = 0.05, 200, 20_000
    hits, counts = np.unique(np.random.default_rng(0).binomial(draws, probability, times), return_counts=True)
    most = alpha + 4 * np.sqrt(alpha * (1 - alpha) / times)
    wrong = np.array([lower_bound(int(hit), draws, alpha) > probability for hit in hits])
    assert counts[wrong].sum() / times <= most
    wrong = np.array([upper_bound(int(hit), draws, alpha) < probability for hit in hits])
    assert counts[wrong].sum() / times <= most
