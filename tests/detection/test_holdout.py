"""What a model that has not seen a group says of it as a whole."""

import numpy as np
import pytest

from elixir.detection.holdout import excess_disagreement, holdout_split, mislabeled_fraction
from elixir.detection.thresholds import Thresholds

THRESHOLDS = Thresholds()


@pytest.mark.parametrize("fraction", [0.0, 0.4, 0.9])
def test_the_mislabeled_fraction_is_estimated_from_below(fraction: float):
    rng, unseen = np.random.default_rng(0), 20_000
    right, wrong = rng.random(unseen) < 0.5, np.zeros(unseen, bool)
    wrong[~right] = rng.random((~right).sum()) < 0.2
    estimates = []
    for _ in range(200):
        mislabeled = rng.random(1000) < fraction
        other = rng.random(1000) < np.where(mislabeled, 0.6, 0.1)
        estimates.append(mislabeled_fraction(other, right, wrong, THRESHOLDS))
    assert np.mean(np.array(estimates) <= fraction + 0.01) > 0.94
    assert np.mean(estimates) > fraction - 0.08


@pytest.mark.parametrize("known", [0, 100])
def test_a_model_that_knows_little_says_nothing(known: int):
    right = np.arange(known) < 0.2 * known
    assert mislabeled_fraction(np.ones(50, bool), right, np.zeros(known, bool), THRESHOLDS) == 0


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
