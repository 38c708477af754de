"""What models know of a set and of its labels."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from elixir.detection.knowledge import label_skill, set_skill, too_little_known, unknown
from elixir.detection.thresholds import Thresholds

THRESHOLDS = Thresholds()
LEAST = 2 * THRESHOLDS.min_group_size


def known(given: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """What models see that know a share of the labels, and of the rest guess evenly."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(given)) < share, given, rng.integers(0, given.max() + 1, len(given)))


@pytest.mark.parametrize("labels", [2, 10])
@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_skill_is_what_is_known_beyond_chance(labels: int, share: float):
    given = np.repeat(np.arange(labels), 20000 // labels)
    seen = known(given, share)
    skill = [label_skill(given == label, seen == label, 0.5) for label in range(labels)]
    assert skill == pytest.approx([share] * labels, abs=0.03)
    assert set_skill(given, seen, 0.5) == pytest.approx(share, abs=0.02)


def test_skill_is_that_of_the_textbook():
    given, seen = np.repeat([0, 0, 1, 1], [20, 5, 10, 15]), np.repeat([0, 1, 0, 1], [20, 5, 10, 15])
    assert set_skill(given, seen, 0.5) == pytest.approx(cohen_kappa_score(given, seen), abs=0.03)  # 0.4
    assert set_skill(given, seen, 0.05) < 0.2
    assert label_skill(given == 0, seen == 0, 0.5) == pytest.approx(20 / 25 - 10 / 25, abs=0.03)


def test_with_one_label_there_is_nothing_to_know():
    assert set_skill(np.zeros(30, int), np.zeros(30, int), 0.05) == 0
    assert label_skill(np.ones(30, bool), np.ones(30, bool), 0.05) < 0


def test_models_that_always_see_the_largest_label_know_nothing():
    given = np.repeat([0, 1], [950, 50])
    assert "they name 95% of the labels of samples that they have not seen, 95% by chance" in too_little_known(
        given, np.zeros(1000, int), THRESHOLDS
    )
    assert not too_little_known(given, given, THRESHOLDS)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("labels", "each"), [(2, LEAST), (2, 150), (10, 30), (43, LEAST)])
def test_random_labels_are_never_judged(labels: int, each: int, seed: int):
    given = np.repeat(np.arange(labels), each)
    assert too_little_known(given, known(given, 0, seed), THRESHOLDS)
    assert not too_little_known(given, known(given, 0.9, seed), THRESHOLDS)


def test_one_label_that_models_do_not_know_among_others_that_they_do():
    given = np.repeat(np.arange(10), 60)
    seen = known(given, 0.9)
    seen[given == 4] = (np.arange(60) % 9 + 5) % 10
    assert not too_little_known(given, seen, THRESHOLDS)
    assert set(unknown(given, seen, THRESHOLDS)) == {4}
