"""Telling samples apart by a pattern that other labels do not show."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from elixir.run.pattern import LEAST, Moments, spectrum, split

SIZE = 32
STRIPES = 20 * np.sin(2 * np.pi * 6 * np.arange(SIZE) / SIZE)


def pictures(count: int, seed: int) -> np.ndarray:
    """Smooth random pictures, float64 (n, 3, s, s) in grey levels."""
    noise = np.random.default_rng(seed).normal(size=(count, 3, SIZE, SIZE))
    smooth = gaussian_filter(noise, (0, 0, 3, 3))
    return 128 + 40 * smooth / smooth.std()


def spectra(images: np.ndarray) -> np.ndarray:
    return spectrum(torch.from_numpy(images.clip(0, 255).astype(np.uint8)))


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_added_stripes_are_found_sample_by_sample(share: float):
    images = pictures(200, 1)
    striped = np.arange(200) < share * 200
    images[striped] += STRIPES
    found = split(spectra(images), Moments.of(spectra(pictures(1000, 2))), np.arange(200) % 2)
    assert found.separation > 0.5
    assert ((found.suspicion > 0.5) == striped).all()


def test_pictures_like_all_others_are_one_lump():
    found = split(spectra(pictures(200, 1)), Moments.of(spectra(pictures(1000, 2))), np.arange(200) % 2)
    assert found.separation < 0.1


@pytest.mark.parametrize(("own", "others"), [(LEAST - 1, 100), (100, LEAST - 1), (1, 100)])
def test_too_few_samples_say_nothing(own: int, others: int):
    found = split(spectra(pictures(own, 1)), Moments.of(spectra(pictures(others, 2))), np.arange(own) % 2)
    assert found.separation == 0
    assert not found.suspicion.any()


def test_copies_of_one_picture_say_nothing():
    one = spectra(pictures(1, 1))
    found = split(np.repeat(one, 60, 0), Moments.of(spectra(pictures(100, 2))), np.arange(60) % 2)
    assert found.separation == 0


def test_moments_of_parts_add_up():
    own, others = spectra(pictures(50, 1)), spectra(pictures(70, 2))
    everything = Moments.of(np.concatenate([own, others]))
    rest = everything - Moments.of(own)
    assert rest.count == 70
    np.testing.assert_allclose(rest.products, Moments.of(others).products, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose((Moments.of(own) + rest).total, everything.total)


def test_the_spectrum_keeps_the_energy_of_slow_waves():
    grey = torch.full((1, 3, SIZE, SIZE), 51, dtype=torch.uint8)
    found = spectrum(grey)[0]
    assert found[0] == pytest.approx(0.2 * SIZE)
    assert np.abs(found[1:]).max() < 1e-3 * SIZE


def test_small_pictures_have_fewer_frequencies():
    assert spectrum(torch.zeros((2, 3, 8, 8), dtype=torch.uint8)).shape == (2, 3 * 64)
