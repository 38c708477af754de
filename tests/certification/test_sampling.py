"""Cohen's procedures on labels drawn with known probabilities: what they ask, answer, and how often they are wrong."""

from typing import TypeVar

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from elixir.certification.sampling import (
    ABSTAIN,
    Sampling,
    block_size,
    certified_radius,
    certifying,
    largest_radius,
    predicting,
)

pytestmark = pytest.mark.slow

T = TypeVar("T")


def hold(sampling: Sampling[T], probabilities: list[float], rng: np.random.Generator) -> T:
    """Answer with random labels until the outcome is there."""
    edges = np.cumsum(probabilities)[:-1]
    try:
        wanted = next(sampling)
        while True:
            wanted = sampling.send(np.searchsorted(edges, rng.random(wanted), side="right"))
    except StopIteration as end:
        return end.value


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


def test_draws_are_asked_for_in_blocks():
    sampling = certifying(0.5, 150, 220, 0.001, block=100)
    asked = [next(sampling)]
    asked += [sampling.send(np.full(wanted, 3)) for wanted in (100, 50, 100, 100)]
    assert asked == [100, 50, 100, 100, 20]
    with pytest.raises(StopIteration) as end:
        sampling.send(np.full(20, 3))
    certificate = end.value.value
    assert (certificate.prediction, certificate.hits, certificate.draws) == (3, 220, 220)
    assert certificate.p_lower == pytest.approx(0.001 ** (1 / 220))
    assert certificate.radius == pytest.approx(0.5 * norm.ppf(0.001 ** (1 / 220)))


def test_large_images_come_in_smaller_blocks():
    assert (block_size(32, 32), block_size(224, 224), block_size(1024, 1024), block_size(9000, 9000)) == (
        100,
        100,
        8,
        1,
    )


def test_the_draws_that_choose_do_not_count():
    sampling = certifying(0.5, 10, 100, 0.001)
    next(sampling)
    sampling.send(np.full(10, 7))
    with pytest.raises(StopIteration) as end:
        sampling.send(np.zeros(100, int))
    assert (end.value.value.prediction, end.value.value.hits, end.value.value.abstained) == (7, 0, True)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("probability", [0.5, 0.56, 0.7, 0.97])
def test_coverage(probability: float, adaptive: bool):
    """A claim is wrong if its bound exceeds the label's probability: not more often than alpha, four errors apart."""
    alpha, times, rng = 0.05, 4000, np.random.default_rng(1)
    wrong = claims = 0
    for _ in range(times):
        found = hold(certifying(1.0, 20, 200, alpha, adaptive, block=20), [probability, 1 - probability], rng)
        true = [probability, 1 - probability][found.prediction]
        claims += not found.abstained
        wrong += not found.abstained and found.p_lower > true
    assert wrong / times <= alpha + 4 * np.sqrt(alpha * (1 - alpha) / times)
    if probability > 0.6:
        assert claims > 0.99 * times * norm.cdf(2)


def test_stopping_early_only_turns_outcomes_into_abstentions():
    saved = lost = 0
    for seed in range(1500):
        rng = np.random.default_rng(seed)
        probability = rng.uniform(0.2, 0.8)
        outcomes = [
            hold(
                certifying(1.0, 50, 1000, 0.001, adaptive), [probability, 1 - probability], np.random.default_rng(seed)
            )
            for adaptive in (False, True)
        ]
        full, early = outcomes
        if early.draws == full.draws:
            assert early == full
        else:
            assert early.abstained
            saved += full.draws - early.draws
            lost += not full.abstained
    assert saved > 0
    assert lost <= 2


@pytest.mark.parametrize("n", [1, 7, 100, 1000])
def test_predicting_early_is_predicting_with_all_draws(n: int):
    for seed in range(300):
        shares = np.random.default_rng(seed).dirichlet([1, 1, 0.5]).tolist()
        found = hold(predicting(n, 0.01, block=25), shares, np.random.default_rng([seed, 1]))
        rng, edges = np.random.default_rng([seed, 1]), np.cumsum(shares)[:-1]
        counts = np.bincount(np.searchsorted(edges, rng.random(n), side="right"), minlength=3)
        second, first = np.sort(counts)[-2:]
        sure = binomtest(int(first), int(first + second), 0.5).pvalue <= 0.01
        assert found == (counts.argmax() if sure else ABSTAIN)


def test_predicting_is_wrong_no_more_often_than_alpha():
    alpha, times, rng = 0.05, 3000, np.random.default_rng(2)
    answers = np.array([hold(predicting(100, alpha, block=10), [0.49, 0.51], rng) for _ in range(times)])
    assert (answers == 0).mean() <= alpha
    assert set(answers) <= {ABSTAIN, 0, 1}
