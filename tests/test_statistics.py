"""Clopper-Pearson bounds against scipy, at their edges, and how often they hold."""

import numpy as np
import pytest
from scipy.stats import beta, binomtest

from elixir.statistics import binomial_interval, binomial_lower, binomial_upper


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.5])
@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (1, 1), (0, 100), (3, 100), (99, 100), (100, 100), (9951, 10000)])
def test_bounds_are_clopper_pearson(hits: int, trials: int, alpha: float):
    greater = binomtest(hits, trials, alternative="greater").proportion_ci(1 - alpha, "exact")
    less = binomtest(hits, trials, alternative="less").proportion_ci(1 - alpha, "exact")
    assert binomial_lower(hits, trials, alpha) == pytest.approx(greater.low, rel=1e-10)
    assert binomial_upper(hits, trials, alpha) == pytest.approx(less.high, rel=1e-10)
    if hits:
        assert binomial_lower(hits, trials, alpha) == pytest.approx(beta.ppf(alpha, hits, trials - hits + 1), rel=1e-10)
    if hits < trials:
        assert binomial_upper(hits, trials, alpha) == pytest.approx(
            beta.ppf(1 - alpha, hits + 1, trials - hits), rel=1e-10
        )


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (1, 1), (0, 100), (3, 100), (100, 100), (9951, 10000)])
def test_the_interval_is_clopper_pearson(hits: int, trials: int, confidence: float):
    exact = binomtest(hits, trials).proportion_ci(confidence, "exact")
    assert binomial_interval(hits, trials, confidence) == pytest.approx((exact.low, exact.high), rel=1e-10)


def test_the_interval_is_one_of_95_percent():
    exact = binomtest(7, 20).proportion_ci(0.95, "exact")
    assert binomial_interval(7, 20) == pytest.approx((exact.low, exact.high), rel=1e-10)


def test_edges():
    assert binomial_interval(0, 0) == (binomial_lower(0, 0, 0.05), binomial_upper(0, 0, 0.05)) == (0, 1)
    assert binomial_lower(0, 9, 0.05) == 0
    assert binomial_upper(9, 9, 0.05) == 1
    assert binomial_lower(9, 9, 0.05) == pytest.approx(0.05 ** (1 / 9))
    assert binomial_upper(0, 9, 0.05) == pytest.approx(1 - 0.05 ** (1 / 9))
    assert binomial_upper(3, 9, 0.05) == pytest.approx(1 - binomial_lower(6, 9, 0.05))


@pytest.mark.parametrize("probability", [0.02, 0.5, 0.8, 0.99])
def test_coverage(probability: float):
    """Of 20,000 bounds at level alpha not more than alpha fail, within four standard errors."""
    alpha, trials, times = 0.05, 200, 20_000
    hits, counts = np.unique(np.random.default_rng(0).binomial(trials, probability, times), return_counts=True)
    most = alpha + 4 * np.sqrt(alpha * (1 - alpha) / times)
    wrong = np.array([binomial_lower(int(hit), trials, alpha) > probability for hit in hits])
    assert counts[wrong].sum() / times <= most
    wrong = np.array([binomial_upper(int(hit), trials, alpha) < probability for hit in hits])
    assert counts[wrong].sum() / times <= most
