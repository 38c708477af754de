"""The group of one label's samples that noisy seeds point at."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from elixir.detection.grouping import (
    crossval_lda,
    fit_lda,
    lda_1d,
    qda_1d,
    self_train,
    self_train_step,
    self_train_with_score,
)
from elixir.detection.thresholds import Thresholds

THRESHOLDS = Thresholds()


def test_a_group_in_the_features_is_found_through_noisy_seeds():
    rng = np.random.default_rng(0)
    group = np.arange(400) < 120
    features = rng.normal(size=(400, 32)) + np.where(group, 3.0, 0.0)[:, None] * (np.arange(32) < 4)
    noisy = np.where(group, rng.random(400) < 0.7, rng.random(400) < 0.05)
    found = crossval_lda(features, noisy, ~noisy, 0, THRESHOLDS)
    assert roc_auc_score(group, found) > 0.98
    assert roc_auc_score(group, noisy) < 0.9


def test_doubtful_samples_are_judged_and_not_learned_from():
    rng = np.random.default_rng(1)
    group = np.arange(400) < 120
    features = rng.normal(size=(400, 8)) + np.where(group, 6.0, 0.0)[:, None] * (np.arange(8) < 2)
    sure = rng.random(400) < 0.3
    found = crossval_lda(features, group & sure, ~group & sure, 0, THRESHOLDS)
    assert ((found > 0.5) == group)[~sure].mean() > 0.95
    scrambled = np.where(sure[:, None], features, rng.normal(size=(400, 8)))
    same = crossval_lda(scrambled, group & sure, ~group & sure, 0, THRESHOLDS)
    np.testing.assert_array_equal(same[sure], found[sure])


def test_a_single_doubtful_sample_is_no_trouble():
    rng = np.random.default_rng(2)
    group = np.arange(60) < 20
    features = rng.normal(size=(60, 4)) + 8.0 * group[:, None]
    found = crossval_lda(features, group, ~group & (np.arange(60) != 59), 0, THRESHOLDS)
    assert roc_auc_score(group, found) > 0.95


def test_a_group_of_which_a_part_was_seen_grows_to_the_whole():
    rng = np.random.default_rng(3)
    group = np.arange(400) < 120
    kinds = rng.integers(0, 6, 400)  # poisoned images of several classes: neighbours, but not one heap
    features = (
        rng.normal(size=(400, 16)) + 3.0 * np.eye(16)[np.where(group, kinds, 15)] + 3.0 * group[:, None] * np.eye(16)[8]
    )
    seen = np.where(group & (kinds < 2), 0.9, 0.001)
    once, whole = self_train_step(features, seen, 0, THRESHOLDS), self_train(features, seen, 0, THRESHOLDS)
    assert (once > 0.5)[group].mean() < 0.8 < 0.95 < (whole > 0.5)[group].mean()
    assert (whole > 0.5)[~group].mean() < 0.1
    np.testing.assert_array_equal(self_train(features, np.zeros(400), 0, THRESHOLDS), 0)


@pytest.mark.parametrize(("showing", "found", "wrong"), [(1.0, 0.98, 0.01), (0.5, 0.85, 0.15)])
def test_a_score_of_its_own_keeps_a_small_group_from_drifting(showing: float, found: float, wrong: float):
    rng = np.random.default_rng(4)
    group = np.arange(1000) < 100
    kinds = rng.integers(0, 6, 1000)
    alike = np.where(group, 4.0, rng.uniform(0, 1, 1000))  # benign samples look a little like the group
    features = rng.normal(size=(1000, 16)) + 3.0 * np.eye(16)[kinds] + alike[:, None] * np.eye(16)[8]
    shows = group & (rng.random(1000) < showing)
    score = np.where(shows, rng.beta(6, 1, 1000), rng.beta(1, 12, 1000))
    seeds = score + rng.normal(0, 0.3, 1000) > 0.5
    first = crossval_lda(features, seeds, ~seeds, 0, THRESHOLDS)
    alone = self_train(features, first, 0, THRESHOLDS)
    held = self_train_with_score(features, score, first, 0, THRESHOLDS)
    assert (alone > 0.5)[~group].mean() > 0.5
    assert (held > 0.5)[group].mean() > found
    assert (held > 0.5)[~group].mean() < wrong


def test_a_score_that_says_nothing_leaves_the_features():
    rng = np.random.default_rng(5)
    group = np.arange(300) < 60
    features = rng.normal(size=(300, 8)) + 6.0 * np.where(group[:, None], np.eye(8)[0], np.eye(8)[1])
    seen = np.where(group, 0.9, 0.001)
    for score in (np.zeros(300), np.full(300, 0.4), rng.random(300)):
        assert ((self_train_with_score(features, score, seen, 0, THRESHOLDS) > 0.5) == group).all()
    np.testing.assert_array_equal(self_train_with_score(features, np.zeros(300), np.zeros(300), 0, THRESHOLDS), 0)


def test_too_few_seeds_are_no_group():
    features = np.random.default_rng(0).normal(size=(50, 4))
    for seeds in (0, 4, 46, 50):
        group = np.arange(50) < seeds
        assert not crossval_lda(features, group, ~group, 0, THRESHOLDS).any()


@pytest.mark.parametrize("apart", [0.0, 1.0, 3.0, 4.2, 5.0, 8.0])
def test_a_value_tells_who_may_be_of_a_group_if_it_tells_that_group_from_the_rest(apart: float):
    group = np.arange(1000) < 200
    odds = np.random.default_rng(0).normal(0, 1, 1000) + apart * group
    known = group & (np.arange(1000) % 4 > 0)
    cut = apart / 2 - np.log(0.95 / 0.05) / apart if apart > 3.5 else np.inf  # by the densities of two normal laws
    expected = 800 * norm.sf(cut) + 200 * norm.sf(cut - apart)
    assert (lda_1d(odds, known, THRESHOLDS) > 0).sum() == pytest.approx(expected, abs=8)
    assert not lda_1d(-odds, known, THRESHOLDS).any()


def test_one_value_without_any_spread_tells_all_or_nothing():
    known = np.arange(100) < 20
    assert not (lda_1d(np.ones(100), known, THRESHOLDS) > 0.5).any()
    assert ((lda_1d(known.astype(float), known, THRESHOLDS) > 0.5) == known).all()


def test_a_group_that_varies_more_than_the_rest_is_found_whole_by_one_score():
    rng = np.random.default_rng(0)
    group = np.arange(1000) < 100
    score = np.where(group, rng.normal(25, 6, 1000), rng.normal(0, 1, 1000))
    found = qda_1d(score, score > 20, THRESHOLDS)
    assert ((found > 0.5) == group).mean() >= 0.999
    inside = found > 0.5
    model = QuadraticDiscriminantAnalysis(priors=[1 - inside.mean(), inside.mean()]).fit(score[:, None], inside)
    expected = np.where(score > score[~inside].mean(), model.predict_proba(score[:, None])[:, 1], 0)
    np.testing.assert_allclose(found, np.where(expected > 0.05, expected, 0), atol=0.01)
    assert not qda_1d(score, group & (np.arange(1000) < 4), THRESHOLDS).any()


@pytest.mark.parametrize(("count", "width"), [(400, 30), (12, 30), (50, 1)])
def test_the_discriminant_is_that_of_scikit_learn(count: int, width: int):
    features = np.random.default_rng(count).normal(1, 1, (count, width))
    inside = np.arange(count) % 3 == 0
    features[inside, 0] += 1
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    shrinkage = THRESHOLDS.lda_shrinkage
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=[0.5, 0.5]).fit(directions, inside)
    expected = model.predict_proba(directions)[:, 1]
    np.testing.assert_allclose(fit_lda(features, inside, THRESHOLDS)(features), expected, atol=1e-9)
