"""Training crops: sizes, range, and that the generator alone decides."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from small_world import png

from elixir.data.open import open_source
from elixir.errors import ElixirError
from elixir.training.crops import TrainingImages, sample_crops
from elixir.training.denoiser import DenoiserTraining, training_on
from elixir.training.frame import TrainingJob

pytestmark = pytest.mark.slow

PIXELS = torch.randint(0, 256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
IMAGES = TrainingImages(lambda wanted: PIXELS[wanted], 8, 32)


def crops(seed: int) -> torch.Tensor:
    return sample_crops(IMAGES, 16, 8, torch.Generator().manual_seed(seed))


def test_a_quarter_is_native_and_the_seed_decides() -> None:
    shapes = Counter(tuple(crops(seed).shape) for seed in range(200))
    assert set(shapes) == {(8, 3, 16, 16), (2, 3, 32, 32)}
    assert shapes[2, 3, 32, 32] == pytest.approx(50, abs=20)
    assert torch.equal(crops(3), crops(3))
    for seed in range(20):
        batch = crops(seed)
        assert 0 <= batch.min() < batch.max() <= 1


def test_native_crops_are_pixels_of_the_images() -> None:
    native = next(batch for seed in range(20) if (batch := crops(seed)).shape[-1] == 32)
    wholes = torch.cat([PIXELS, PIXELS.flip(-1)]).float() / 255
    for image in native:
        correlation = [np.corrcoef(image.flatten(), whole.flatten())[0, 1] for whole in wholes]
        assert max(correlation) > 0.5


def test_images_are_cached_for_the_time_of_the_training(tmp_path: Path) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    for index in range(3):
        (tmp_path / "images" / "a" / f"{index}.png").write_bytes(png(PIXELS[index].permute(1, 2, 0).numpy()))
    (tmp_path / "images" / "a" / "3.png").write_bytes(b"no image")
    source, out = open_source(tmp_path / "images", labelled=False), tmp_path / "out.safetensors"
    settings = DenoiserTraining(crop=16)
    with training_on(TrainingJob(source, 32, out, torch.device("cpu"), quiet=True), settings) as run:
        assert (run.images.count, run.images.size) == (3, 32)
        assert torch.equal(run.images.read(torch.tensor([2, 0])), PIXELS[[2, 0]])
        assert (tmp_path / "out.safetensors.pixels").exists()
    assert not (tmp_path / "out.safetensors.pixels").exists()
    with (
        pytest.raises(ElixirError, match=r"too small.*at least 32"),
        training_on(TrainingJob(source, 31, out, torch.device("cpu"), quiet=True), settings),
    ):
        pass
