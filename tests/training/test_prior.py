"""Training of the prior: resumable, decided by the seed, and it learns."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from elixir.training.crops import TrainingImages
from elixir.training.denoiser import TrainingRun
from elixir.training.prior import PriorTraining, train_prior

IMAGES = torch.randint(0, 256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
SETTINGS = PriorTraining(steps=4, batch=4, crop=16, warmup=1)


def train(out: Path, settings: PriorTraining = SETTINGS, **options) -> dict[str, torch.Tensor]:
    images = TrainingImages(lambda wanted: IMAGES[wanted], 8, 32)
    train_prior(TrainingRun(images, out, checkpoint_every=2, **options), settings)
    return load_file(out)


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path):
    def stop(step: int, loss: float) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "a.safetensors", on_step=stop)
    steps: list[int] = []
    resumed = train(tmp_path / "a.safetensors", on_step=lambda step, loss: steps.append(step))
    assert steps == [3, 4]
    through = train(tmp_path / "b.safetensors")
    assert all(torch.equal(resumed[name], through[name]) for name in through)


@pytest.mark.slow
def test_the_loss_falls(tmp_path: Path):
    losses: list[float] = []
    settings = PriorTraining(steps=30, batch=8, crop=16, warmup=5)
    train(tmp_path / "prior.safetensors", settings, on_step=lambda step, loss: losses.append(loss))
    assert sum(losses[-5:]) < sum(losses[:5])
