"""How far an image is from the given one: both SSIMs against scikit-image and a direct computation, the distance."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from elixir.stages.repaired_images import candidate_distance, intended_ssim, released_ssim


def pictures(seed: int = 0, height: int = 24, width: int = 19) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture and a noisy copy, uint8 (3, h, w)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    raw = np.stack([128 + 100 * np.sin(x / 3 + c) * np.cos(y / (4 + c)) for c in range(3)])
    other = raw + rng.normal(0, 15, raw.shape)
    return raw.clip(0, 255).round().astype(np.uint8), other.clip(0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("seed", [0, 1])
def test_released_ssim_is_scikit_images_of_the_volume(seed: int) -> None:
    raw, other = pictures(seed)
    expected = structural_similarity(raw.transpose(1, 2, 0), other.transpose(1, 2, 0), win_size=3, data_range=255)
    assert released_ssim(torch.from_numpy(other)[None], torch.from_numpy(raw)[None]).item() == pytest.approx(
        expected, abs=1e-6
    )


def test_released_ssim_by_direct_computation() -> None:
    raw, other = pictures(height=5, width=4)
    values = []
    for i in range(3):
        for j in range(2):
            a, b = (image[:, i : i + 3, j : j + 3].reshape(-1) / 255 for image in (raw, other))
            cov = np.cov(a, b)
            top = (2 * a.mean() * b.mean() + 1e-4) * (2 * cov[0, 1] + 9e-4)
            values.append(top / ((a.mean() ** 2 + b.mean() ** 2 + 1e-4) * (cov[0, 0] + cov[1, 1] + 9e-4)))
    assert released_ssim(torch.from_numpy(raw)[None], torch.from_numpy(other)[None]).item() == pytest.approx(
        np.mean(values), abs=1e-6
    )


def test_intended_ssim_is_scikit_images_over_channels() -> None:
    raw, other = pictures()
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    mirrored = (np.pad(image, ((0, 0), (10, 10), (10, 10)), mode="reflect") for image in (raw, other))
    full = np.asarray(structural_similarity(*mirrored, channel_axis=0, full=True, **options)[1])
    ours = intended_ssim(torch.from_numpy(raw)[None], torch.from_numpy(other)[None]).item()
    assert ours == pytest.approx(full[:, 10:-10, 10:-10].mean(), abs=1e-5)


def test_the_two_differ() -> None:
    raw, other = (torch.from_numpy(image)[None] for image in pictures())
    assert abs(intended_ssim(raw, other) - released_ssim(raw, other)) > 0.01


@pytest.mark.parametrize("ssim", ["intended", "released"])
def test_distance_is_half_pixels_and_half_features(ssim: str) -> None:
    raw, other = (torch.from_numpy(image)[None] for image in pictures())
    east, north = np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]])
    assert candidate_distance(raw, raw, east, east, ssim) == pytest.approx(0, abs=1e-6)
    assert candidate_distance(raw, raw, east, north, ssim) == pytest.approx(0.25, abs=1e-6)
    assert candidate_distance(raw, raw, east, -east, ssim) == pytest.approx(0.5, abs=1e-6)
    similarity = {"intended": intended_ssim, "released": released_ssim}[ssim](other, raw).item()
    assert candidate_distance(raw, other, east, east, ssim) == pytest.approx((1 - similarity) / 4, abs=1e-6)
