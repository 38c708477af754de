"""What images have beside their smooth selves."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve

from elixir.detection.detail import detail


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 5, 9), (3, 2, 2)])
def test_it_is_what_a_binomial_filter_takes_away(shape: tuple[int, int, int]):
    images = np.random.default_rng(0).integers(100, 120, (4, *shape), dtype=np.uint8)
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    smooth = convolve(images.astype(float), kernel[None, None], mode="nearest")
    expected = (128 + 8 * (images - smooth)).round().clip(0, 255)
    assert np.abs(detail(torch.from_numpy(images)).numpy() - expected).max() <= 1


@pytest.mark.parametrize("level", [0, 77, 255])
def test_flat_images_have_none(level: int):
    assert (detail(torch.full((2, 3, 8, 8), level, dtype=torch.uint8)) == 128).all()
