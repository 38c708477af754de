"""Frequencies of images, their moments, and their fine detail."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve

from elixir.data import pixels
from elixir.data.pixels import PixelStore
from elixir.detection.spectrum import YCBCR, Band, Moments, bands, high_pass
from elixir.detection.thresholds import Thresholds

SIZE = 32
SLOW, FAST = bands(Thresholds())


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
    spectra = band.spectrum(torch.from_numpy(images))
    expected = np.cov(spectra.T, bias=True) if band is SLOW else spectra.var(0)
    np.testing.assert_allclose(parts.covariance, expected, atol=1e-9)
    np.testing.assert_allclose(
        (whole - Moments.of(band, store, second)).products, Moments.of(band, store, first).products, atol=1e-9
    )


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


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 5, 9), (3, 2, 2)])
def test_fine_detail_is_what_a_binomial_filter_takes_away(shape: tuple[int, int, int]):
    images = np.random.default_rng(0).integers(100, 120, (4, *shape), dtype=np.uint8)
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    smooth = convolve(images.astype(float), kernel[None, None], mode="nearest")
    expected = (128 + 8 * (images - smooth)).round().clip(0, 255)
    assert np.abs(high_pass(torch.from_numpy(images), 8).numpy() - expected).max() <= 1


@pytest.mark.parametrize("level", [0, 77, 255])
def test_flat_images_have_no_fine_detail(level: int):
    assert (high_pass(torch.full((2, 3, 8, 8), level, dtype=torch.uint8), 8) == 128).all()
