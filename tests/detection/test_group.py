"""The group that noisy evidence points at."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from elixir.detection.group import by_odds, sharpen, sharpen_again, sharpen_until_stable, sharpen_with


def test_a_group_in_the_features_is_found_through_noisy_marks():
    rng = np.random.default_rng(0)
    group = np.arange(400) < 120
    features = rng.normal(size=(400, 32)) + np.where(group, 3.0, 0.0)[:, None] * (np.arange(32) < 4)
    noisy = np.where(group, rng.random(400) < 0.7, rng.random(400) < 0.05)
    found = sharpen(features, noisy, ~noisy, seed=0)
    assert roc_auc_score(group, found) > 0.98
    assert roc_auc_score(group, noisy) < 0.9


def test_doubtful_samples_are_judged_and_not_learned_from():
    rng = np.random.default_rng(1)
    group = np.arange(400) < 120
    features = rng.normal(size=(400, 8)) + np.where(group, 6.0, 0.0)[:, None] * (np.arange(8) < 2)
    sure = rng.random(400) < 0.3
    found = sharpen(features, group & sure, ~group & sure, seed=0)
    assert ((found > 0.5) == group)[~sure].mean() > 0.95
    scrambled = np.where(sure[:, None], features, rng.normal(size=(400, 8)))
    same = sharpen(scrambled, group & sure, ~group & sure, seed=0)
    np.testing.assert_array_equal(same[sure], found[sure])


def test_a_single_doubtful_sample_is_no_trouble():
    rng = np.random.default_rng(2)
    group = np.arange(60) < 20
    features = rng.normal(size=(60, 4)) + 8.0 * group[:, None]
    found = sharpen(features, group, ~group & (np.arange(60) != 59), seed=0)
    assert roc_auc_score(group, found) > 0.95


def test_a_group_of_which_a_part_was_seen_grows_to_the_whole():
    rng = np.random.default_rng(3)
    group = np.arange(400) < 120
    kinds = rng.integers(0, 6, 400)  # poisoned images of several classes: neighbours, but not one heap
    features = (
        rng.normal(size=(400, 16)) + 3.0 * np.eye(16)[np.where(group, kinds, 15)] + 3.0 * group[:, None] * np.eye(16)[8]
    )
    seen = np.where(group & (kinds < 2), 0.9, 0.001)
    once, whole = sharpen_again(features, seen, 0), sharpen_until_stable(features, seen, 0)
    assert (once > 0.5)[group].mean() < 0.8 < 0.95 < (whole > 0.5)[group].mean()
    assert (whole > 0.5)[~group].mean() < 0.1
    np.testing.assert_array_equal(sharpen_until_stable(features, np.zeros(400), 0), 0)


@pytest.mark.parametrize(("carriers", "found", "wrong"), [(1.0, 0.98, 0.01), (0.5, 0.85, 0.15)])
def test_a_cause_keeps_a_small_group_from_drifting(carriers: float, found: float, wrong: float):
    rng = np.random.default_rng(4)
    group = np.arange(1000) < 100
    kinds = rng.integers(0, 6, 1000)
    alike = np.where(group, 4.0, rng.uniform(0, 1, 1000))  # benign samples look a little like the group
    features = rng.normal(size=(1000, 16)) + 3.0 * np.eye(16)[kinds] + alike[:, None] * np.eye(16)[8]
    carrying = group & (rng.random(1000) < carriers)
    cause = np.where(carrying, rng.beta(6, 1, 1000), rng.beta(1, 12, 1000))
    marked = cause + rng.normal(0, 0.3, 1000) > 0.5
    first = sharpen(features, marked, ~marked, 0)
    alone, held = sharpen_until_stable(features, first, 0), sharpen_with(features, cause, first, 0)
    assert (alone > 0.5)[~group].mean() > 0.5
    assert (held > 0.5)[group].mean() > found
    assert (held > 0.5)[~group].mean() < wrong


def test_a_cause_that_says_nothing_leaves_the_features():
    rng = np.random.default_rng(5)
    group = np.arange(300) < 60
    features = rng.normal(size=(300, 8)) + 6.0 * np.where(group[:, None], np.eye(8)[0], np.eye(8)[1])
    seen = np.where(group, 0.9, 0.001)
    for cause in (np.zeros(300), np.full(300, 0.4), rng.random(300)):
        assert ((sharpen_with(features, cause, seen, 0) > 0.5) == group).all()
    np.testing.assert_array_equal(sharpen_with(features, np.zeros(300), np.zeros(300), 0), 0)


def test_too_few_marks_are_no_group():
    features = np.random.default_rng(0).normal(size=(50, 4))
    for marked in (0, 4, 46, 50):
        group = np.arange(50) < marked
        assert not sharpen(features, group, ~group, seed=0).any()


@pytest.mark.parametrize("apart", [0.0, 1.0, 3.0, 4.2, 5.0, 8.0])
def test_a_value_tells_who_may_be_of_a_group_if_it_tells_that_group_from_the_rest(apart: float):
    group = np.arange(1000) < 200
    odds = np.random.default_rng(0).normal(0, 1, 1000) + apart * group
    known = group & (np.arange(1000) % 4 > 0)
    cut = apart / 2 - np.log(0.95 / 0.05) / apart if apart > 3.5 else np.inf  # by the densities of two normal laws
    expected = 800 * norm.sf(cut) + 200 * norm.sf(cut - apart)
    assert (by_odds(odds, known, 3.5) > 0).sum() == pytest.approx(expected, abs=8)
    assert not by_odds(-odds, known, 3.5).any()


def test_one_value_without_any_spread_tells_all_or_nothing():
    known = np.arange(100) < 20
    assert not (by_odds(np.ones(100), known) > 0.5).any()
    assert ((by_odds(known.astype(float), known) > 0.5) == known).all()
