"""What a model that has not seen a group says of it as a whole."""

import numpy as np
import pytest

from elixir.detection.holdout import HeldOut, excess_disagreement, holdout_split, taken
from elixir.detection.thresholds import Thresholds

THRESHOLDS = Thresholds()
NOT_DENIED = np.zeros(1000, bool)


def read(rng: np.random.Generator, label: np.ndarray, skill: float) -> np.ndarray:
    """What a model reads in samples of three labels: log-probabilities that speak for each label, with some skill."""
    scores = rng.normal(size=(len(label), 3)) + skill * np.eye(3)[label]
    return (scores - np.log(np.exp(scores).sum(1, keepdims=True))).astype(np.float32)


@pytest.mark.parametrize("fraction", [0.0, 0.4, 0.9])
@pytest.mark.parametrize(("skill", "at_most_below"), [(1.5, 0.3), (4.0, 0.1)])
def test_the_mislabeled_fraction_is_estimated_from_below(fraction: float, skill: float, at_most_below: float):
    rng = np.random.default_rng(0)
    label = rng.integers(3, size=6000)
    held_out = HeldOut(read(rng, label, skill), label, np.zeros(6000, bool), THRESHOLDS)
    estimates = []
    for _ in range(100):
        true = np.where(rng.random(1000) < fraction, rng.integers(1, 3, 1000), 0)
        estimates.append(held_out.mislabeled_fraction(read(rng, true, skill), 0, NOT_DENIED)[0])
    assert np.mean(np.array(estimates) <= fraction + 0.01) > 0.94
    assert np.mean(estimates) > fraction - at_most_below


@pytest.mark.parametrize(("doubt", "seen"), [(0.0, 0.8), (0.9, 0.6), (3.0, 0.1)])
def test_hard_samples_are_taken_for_another_label_with_more_doubts_than_its_own(doubt: float, seen: float):
    rng = np.random.default_rng(0)
    label = rng.integers(3, size=3000)
    held_out = HeldOut(read(rng, label, 4.0), label, np.zeros(3000, bool), THRESHOLDS)
    hard = read(rng, np.full(1000, 2), 4.0)
    hard[:, 0] += doubt  # of label 0 and taken for label 2
    share = held_out.mislabeled_fraction(hard, 0, NOT_DENIED)[1]
    assert share == pytest.approx(seen, abs=0.05)


@pytest.mark.parametrize("known", [0, 3000])
def test_a_model_that_knows_little_says_nothing(known: int):
    rng = np.random.default_rng(0)
    label = rng.integers(3, size=known)
    held_out = HeldOut(read(rng, label, 0.0), label, np.zeros(known, bool), THRESHOLDS)
    assert held_out.mislabeled_fraction(read(rng, np.full(50, 1), 0.0), 0, NOT_DENIED[:50])[0] == 0


@pytest.mark.parametrize(("noise", "least", "most"), [(0.0, 0.85, 1.0), (0.1, 0.8, 1.0), (0.8, 0.0, 0.0)])
def test_a_group_of_denied_samples_is_compared_with_denied_ones(noise: float, least: float, most: float):
    """Of samples of other labels a tenth is denied, and of these that share mislabeled."""
    rng = np.random.default_rng(0)
    label = rng.integers(3, size=6000)
    denied = rng.random(6000) < 0.1
    true = np.where(denied & (rng.random(6000) < noise), (label + 1) % 3, label)
    held_out = HeldOut(read(rng, true, 6.0), label, denied, THRESHOLDS)
    fraction, _ = held_out.mislabeled_fraction(read(rng, np.full(200, 1), 6.0), 0, ~NOT_DENIED[:200])
    assert least <= fraction <= most


def test_what_a_label_takes_from_others():
    assert taken(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 3, 1])).tolist() == [0, 2, 0, 1]


def test_disagreement_counts_beyond_that_of_the_others():
    group = np.ones(40, bool)
    lower = 0.05 ** (1 / 40)
    assert excess_disagreement(group, np.zeros(0, bool), THRESHOLDS) == pytest.approx(lower)
    assert excess_disagreement(group, np.arange(10) < 3, THRESHOLDS) == pytest.approx(lower - 0.3)
    assert excess_disagreement(~group, np.arange(10) < 3, THRESHOLDS) == 0


def test_a_share_of_every_label_measures_the_model():
    label = np.repeat([0, 1, 3], [100, 54, 6])
    withheld = np.arange(100, 150)
    seen, unseen = holdout_split(label, withheld, 0.2, np.random.default_rng(0))
    assert np.bincount(label[unseen]).tolist() == [20, 0, 0, 1]  # of labels with few samples all are learned
    assert sorted([*seen, *unseen, *withheld]) == list(range(160))
    assert (np.diff(seen) > 0).all()
