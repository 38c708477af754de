"""The two kinds of evidence, and the group that they point at."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from elixir.detection.evidence import (
    by_odds,
    sharpen,
    sharpen_again,
    sharpen_until_stable,
    sharpen_with,
    trigger_evidence,
)
from elixir.detection.tiles import erased, grid, mask, pasted


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


def test_evidence_rests_on_the_stronger_cause():
    transplant = np.array([[0.1, 0.9], [0.0, 0.1], [0.0, 0.1]], np.float32)
    tile = np.array([0.2, 0.8, 0.0], np.float32)
    own, without, drop = np.array([0.3, 0.9, 0.9]), np.array([0.0, 0.1, 0.1]), np.array([-1.0, 0.0, 0.01])
    causal, contradiction = trigger_evidence(transplant, tile, own, without, drop)
    np.testing.assert_allclose(causal, [0.9, 0.8, 0.1], rtol=1e-6)
    np.testing.assert_allclose(contradiction, [0.7, 0.9, 0.1], rtol=1e-6)  # the third does not rest on its tile


@given(st.sampled_from([16, 24, 32, 40, 56, 64, 100, 512]))
def test_tiles_cover_the_image_and_stay_inside(size: int):
    covered = np.zeros((size, size), bool)
    for i, j, side in grid(size):
        assert i >= 0
        assert j >= 0
        assert i + side <= size
        assert j + side <= size
        covered[i : i + side, j : j + side] = True
    assert covered[: 4 * (size // 4), : 4 * (size // 4)].all()


def test_paste_and_erase_change_one_tile_only():
    images, hosts = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    tiles = np.array([15, 20])
    changed = pasted(hosts, images, tiles)
    gone = erased(images, tiles)
    for index, tile in enumerate(tiles):
        i, j, side = grid(32)[tile]
        inside = torch.zeros(32, 32, dtype=torch.bool)
        inside[i : i + side, j : j + side] = True
        assert torch.equal(changed[index][:, inside], images[index][:, inside])
        assert torch.equal(changed[index][:, ~inside], hosts[index][:, ~inside])
        assert torch.equal(gone[index][:, ~inside], images[index][:, ~inside])
        assert torch.allclose(gone[index][:, inside], gone[index][:, i, j][:, None])


def test_a_label_that_a_little_noise_removes_is_contradicted():
    _, contradiction = trigger_evidence(
        np.zeros((1, 2), np.float32), np.zeros(1, np.float32), np.ones(1), np.ones(1), np.array([3.0])
    )
    np.testing.assert_allclose(contradiction, 1 - np.exp(-3), rtol=1e-6)


@given(st.integers(0, 24), st.integers(8, 90), st.integers(8, 90))
def test_a_mask_covers_its_tile_at_any_size(tile: int, height: int, width: int):
    i, j, side = grid(32)[tile]
    where = mask(np.array([tile]), 32, height, width)[0, 0]
    y, x = (np.arange(height) + 0.5) * 32 / height, (np.arange(width) + 0.5) * 32 / width
    inside = ((y > i) & (y < i + side))[:, None] & ((x > j) & (x < j + side))
    assert where[torch.from_numpy(inside)].all()
    assert where.sum() <= (side * height / 32 + 2) * (side * width / 32 + 2)


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
