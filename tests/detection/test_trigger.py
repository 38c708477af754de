"""What samples have in common besides their content."""

import numpy as np
import pytest
import torch
from fakes import FakeImages

from elixir.detection.thresholds import Thresholds
from elixir.detection.trigger import (
    Benign,
    filtered,
    matched_filter,
    mean_excess,
    mean_image,
    mean_residual,
    trigger_drop,
)

SIZE = 16
STRIPES = np.round(40 * np.sin(np.arange(SIZE) * np.pi / 2 + 0.5))
LABELS = np.repeat([0, 1], 100)
STRIPED = np.arange(200) >= 170
INFLATION = Thresholds.variance_inflation


def images(dark: bool) -> FakeImages:
    """100 dark images and 100 bright ones, of which the last 30 are striped, and dark too if asked for."""
    grey = np.where((LABELS == 0) | (STRIPED & dark), 80, 170)[:, None, None, None]
    content = np.random.default_rng(0).normal(grey, 10, (200, 3, SIZE, SIZE))
    return FakeImages(content + STRIPED[:, None, None, None] * STRIPES)


@pytest.mark.parametrize("dark", [True, False])
def test_what_samples_have_beyond_all_content_is_their_trigger(dark: bool):
    benign = np.flatnonzero(~STRIPED)
    excess = mean_excess(Benign(images(dark), benign, LABELS[benign], INFLATION), np.flatnonzero(STRIPED), 1)
    assert np.abs(excess.mean((0, 1)).numpy() - STRIPES).max() < 5
    assert np.abs(excess.mean((1, 2)).numpy()).max() < 5  # brightness is what the labels differ by


def test_samples_like_the_benign_ones_of_another_label_have_nothing_beyond_content():
    benign = np.flatnonzero(~STRIPED)
    pixels = images(dark=True)
    excess = mean_excess(Benign(pixels, benign, LABELS[benign], INFLATION), np.arange(30), 1)
    assert excess.abs().max() < 10
    assert not mean_excess(Benign(pixels, np.arange(100), LABELS[:100], INFLATION), np.arange(30), 1).any()


def test_a_matched_filter_sees_what_samples_have_in_common_and_no_content():
    benign, pixels = np.flatnonzero(~STRIPED), images(dark=True)
    of_benign = Benign(pixels, benign, LABELS[benign], INFLATION)
    some = np.flatnonzero(STRIPED)[:15]
    weights = matched_filter(of_benign, some, np.zeros(15, np.int64), ridge=0.1)
    found = filtered(pixels, np.arange(200), weights)
    dark, bright = found[LABELS == 0], found[(LABELS == 1) & ~STRIPED]
    assert np.isclose([dark.std(), bright.std()], 1, atol=0.25).all()
    assert abs(dark.mean() - bright.mean()) < 1  # though the labels differ by nine standard deviations of a pixel
    assert found[STRIPED].min() - found[~STRIPED].max() > 20  # half of them were not learned from


def test_a_matched_filter_of_nothing_in_common_sees_nothing():
    pixels = images(dark=True)
    weights = matched_filter(Benign(pixels, np.arange(100), LABELS[:100], 50.0), np.arange(30), LABELS[:30], ridge=0.1)
    assert not weights.any()


def test_the_mean_residual_is_what_purification_takes_away_on_average():
    rng = np.random.default_rng(0)
    raw = rng.integers(100, 200, (9, 3, 8, 8))
    purified = raw - rng.integers(0, 50, raw.shape)
    chosen = np.array([1, 4, 7])
    np.testing.assert_allclose(mean_image(FakeImages(raw), chosen), raw[chosen].mean(0))
    residual = mean_residual(FakeImages(raw), FakeImages(purified), chosen)
    np.testing.assert_allclose(residual, (raw - purified)[chosen].mean(0), rtol=1e-6)


def test_trigger_drop_is_what_a_trigger_adds_to_the_log_odds():
    """A logistic model of one pixel: the log-odds are linear, so they fall by weight times trigger."""
    weight, pixel = 40.0, 100 / 255

    def classify(x: torch.Tensor) -> np.ndarray:
        odds = weight * x[:, 0, 0, 0].double().numpy()
        return np.stack([-np.logaddexp(0, odds), -np.logaddexp(0, -odds)], 1)

    trigger = torch.zeros(3, 4, 4)
    trigger[0, 0, 0] = 0.25
    images = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
    images[1] = 20  # less than the trigger would have added
    drop = trigger_drop(classify, images, {1: trigger, 0: trigger})
    np.testing.assert_allclose(drop[1], [weight * 0.25, weight * 20 / 255], rtol=1e-6)
    np.testing.assert_allclose(drop[0], -drop[1], rtol=1e-6)
    assert weight * pixel > 15  # where p is next to 1
    assert trigger_drop(classify, images, {}) == {}
