"""Frequencies of images, their moments, telling samples apart by a pattern that other labels do not show, detail."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeImages
from scipy.ndimage import gaussian_filter

from elixir.attacks.ftrojan import CB_CR, chroma_pattern
from elixir.data import pixels
from elixir.data.pixels import PixelStore
from elixir.detection.spectrum import YCBCR, Band, Moments, Split, bands, spectral_split
from elixir.detection.thresholds import Thresholds

SIZE = 32
THRESHOLDS = Thresholds()
LEAST = THRESHOLDS.min_split_samples
STRIPES = 20 * np.sin(2 * np.pi * 6 * np.arange(SIZE) / SIZE)
SLOW, FAST = bands(THRESHOLDS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PixelStore]:
    with PixelStore(tmp_path / "pixels", SIZE) as opened:
        yield opened


@pytest.mark.parametrize("band", [SLOW, FAST], ids=["slow", "fast"])
def test_moments_do_not_depend_on_the_blocks(store: PixelStore, band: Band, monkeypatch: pytest.MonkeyPatch):
    images = np.random.default_rng(1).integers(0, 256, (50, 3, SIZE, SIZE), dtype=np.uint8)
    store.write(np.arange(len(images)), images)
    whole = Moments.of(band, store, np.arange(50))
    monkeypatch.setattr(pixels, "BLOCK", 8 * 3 * SIZE * SIZE * 7)
    first, second = np.arange(20), np.arange(20, 50)
    parts = Moments.of(band, store, first) + Moments.of(band, store, second)
    assert parts.count == whole.count == 50
    np.testing.assert_allclose(parts.mean, whole.mean)
    spectra = band.spectrum(torch.from_numpy(images)).astype(np.float64)
    expected = np.cov(spectra.T, bias=True) if band is SLOW else spectra.var(0)
    np.testing.assert_allclose(parts.covariance, expected, atol=1e-6)  # of spectra in single precision
    rest = whole - Moments.of(band, store, second)
    np.testing.assert_allclose(rest.covariance, Moments.of(band, store, first).covariance, atol=1e-6)


def test_the_spectrum_keeps_the_energy_of_slow_waves():
    grey = torch.full((1, 3, SIZE, SIZE), 51, dtype=torch.uint8)
    found = SLOW.spectrum(grey)[0]
    assert found[0] == pytest.approx(0.2 * SIZE)
    assert np.abs(found[1:]).max() < 1e-3 * SIZE


def test_the_bands_divide_the_frequencies():
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, SIZE, SIZE), dtype=np.uint8))
    slow, fast = SLOW.spectrum(image), FAST.spectrum(image)
    assert slow.shape == (1, 16 * 16 + 2 * 8 * 8)
    assert slow.shape[1] + fast.shape[1] == 3 * SIZE * SIZE
    ycbcr = np.einsum("cd,ndij->ncij", YCBCR, image.numpy() / 255)
    assert np.square(slow).sum() + np.square(fast).sum() == pytest.approx(np.square(ycbcr).sum())


def test_small_pictures_have_slow_waves_only():
    tiny = torch.zeros((2, 3, 8, 8), dtype=torch.uint8)
    assert SLOW.spectrum(tiny).shape == (2, 3 * 64)
    assert FAST.spectrum(tiny).shape == (2, 0)


def pictures(count: int, seed: int) -> np.ndarray:
    """Smooth random pictures, float64 (n, 3, s, s) in grey levels."""
    noise = np.random.default_rng(seed).normal(size=(count, 3, SIZE, SIZE))
    smooth = gaussian_filter(noise, (0, 0, 3, 3))
    return 128 + 40 * smooth / 0.11  # the deviation that is left of 1


def split(own: np.ndarray, others: int = 1000) -> Split:
    """The pictures of one label told apart, beside so many of other labels."""
    images = FakeImages(np.concatenate([own, pictures(others, 2)]).round())
    everything = [Moments.of(band, images, np.arange(len(own) + others)) for band in bands(THRESHOLDS)]
    fold = np.random.default_rng(0).permutation(len(own)) % 2
    return spectral_split(images, np.arange(len(own)), everything, fold, THRESHOLDS)


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_added_stripes_are_found_sample_by_sample(share: float):
    images = pictures(200, 1)
    striped = np.arange(200) < share * 200
    images[striped] += STRIPES
    found = split(images)
    assert found.separation > 0.5
    assert ((found.posterior > 0.5) == striped).all()


@pytest.mark.parametrize("loud", [0.05, 0.2])
def test_faint_stripes_on_pictures_that_are_much_alike(loud: float):
    images = (
        pictures(1, 3) + 0.05 * (pictures(400, 1) - 128) + np.random.default_rng(4).normal(0, 3, (400, 3, SIZE, SIZE))
    )
    striped = np.arange(400) < 240
    images[striped] += loud * STRIPES
    found = split(images)
    assert found.separation > 0.5
    assert ((found.posterior > 0.5) == striped).mean() > 0.99


def test_pictures_like_all_others_are_one_lump():
    assert split(pictures(200, 1)).separation < 0.1


def test_pictures_that_are_much_alike_are_one_lump():
    noise = np.random.default_rng(4).normal(0, 3, (200, 3, SIZE, SIZE))
    assert split(pictures(1, 3) + noise).separation < 0.1


@pytest.mark.parametrize("count", [47, 60, 89])
def test_copies_of_one_picture_say_nothing(count: int):
    assert split(np.repeat(pictures(1, 1), count, 0), 100).separation == 0


@pytest.mark.parametrize(("own", "others"), [(LEAST - 1, 100), (100, LEAST - 1), (1, 100), (0, 100), (100, 0)])
def test_too_few_samples_say_nothing(own: int, others: int):
    found = split(pictures(own, 1), others)
    assert found.separation == 0
    assert found.posterior.tolist() == [0] * own


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_a_fast_wave_in_the_colours_is_found_sample_by_sample(share: float):
    images = pictures(200, 1) + np.random.default_rng(4).normal(0, 3, (200, 3, SIZE, SIZE))
    marked = np.arange(200) < share * 200
    images[marked] += 30 * (chroma_pattern(SIZE, SIZE) * CB_CR.sum(1)[:, None, None])
    found = split(images)
    assert found.separation > 0.8
    assert ((found.posterior > 0.5) == marked).all()


def test_noise_is_one_lump():
    rng = np.random.default_rng(4)
    loud = rng.uniform(1, 6, (200, 1, 1, 1))
    assert split(pictures(200, 1) + loud * rng.normal(size=(200, 3, SIZE, SIZE))).separation < 0.3
