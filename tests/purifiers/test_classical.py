"""No purifier at all, JPEG compression and the median filter, against Pillow and SciPy."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import median_filter
from torch import Tensor

from elixir.errors import ElixirError
from elixir.purifiers.classical import load_jpeg, load_median, load_none
from elixir.registry import find

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture
def x() -> Tensor:
    return torch.rand(3, 3, 10, 10, generator=torch.Generator().manual_seed(0))


def test_none_leaves_the_noise_and_clips():
    none = find("purifiers", "none")(None, CPU)
    x, noise = torch.rand(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    noisy = x + 0.5 * noise
    assert torch.equal(none.denoise(noisy, 0.5), noisy)
    assert torch.equal(none.purify(x, 0.5, noise), noisy.clamp(0, 1))
    assert none.nfe == 0


def test_jpeg_is_pillow_s(x: Tensor):
    pixels = (x[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=75)
    expected = np.asarray(Image.open(buffer)).astype(np.float32) / 255
    before = x.clone()
    found = load_jpeg(None, CPU).purify(x, 0.1, torch.randn_like(x))
    np.testing.assert_array_equal(found[0].permute(1, 2, 0).numpy(), expected)
    assert torch.equal(x, before)


def test_median_is_scipy_s(x: Tensor):
    before = x.clone()
    found = load_median(None, CPU).purify(x, 0.1, torch.randn_like(x))
    np.testing.assert_array_equal(found.numpy(), median_filter(x.numpy(), (1, 1, 3, 3), mode="nearest"))
    assert torch.equal(x, before)


@pytest.mark.parametrize("load", [load_none, load_jpeg, load_median])
def test_they_have_no_weights(load):
    with pytest.raises(ElixirError, match="has no weights"):
        load("some.safetensors", CPU)
