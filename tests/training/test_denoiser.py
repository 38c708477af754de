"""The frame of a training, and that of the prior: resumable, decided by the seed, and it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from elixir.training.classifier import ClassifierTraining
from elixir.training.crops import TrainingImages
from elixir.training.denoiser import (
    DenoiserTraining,
    PriorTraining,
    TrainingRun,
    average_decay,
    log_uniform,
    noised,
    train_prior,
)
from elixir.training.frame import fingerprint, optimizer_step

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
SETTINGS = PriorTraining(steps=4, batch=4, crop=16, warmup=1)


def test_the_rate_of_a_denoiser_rises_stays_and_falls() -> None:
    settings = DenoiserTraining(steps=100, warmup=10, decay_from=0.6, learning_rate=2.0)
    rates = [settings.rate_at(step) for step in (0, 4, 9, 59, 80, 99)]
    assert rates == pytest.approx([0.2, 1.0, 2.0, 2.0, 1.0, 0.05])


def test_the_rate_of_a_classifier_rises_and_falls() -> None:
    settings = ClassifierTraining(learning_rate=1.0, warmup=0.2)
    assert [settings.rate_at(progress) for progress in (0.1, 0.2, 0.6, 1.0)] == pytest.approx([0.5, 1.0, 0.5, 0.0])


def test_an_average_follows_faster_in_the_first_steps() -> None:
    assert average_decay(1, 0.999) == 2 / 11
    assert average_decay(10**6, 0.999) == 0.999


def test_noise_levels_are_uniform_in_the_logarithm() -> None:
    levels = log_uniform(0.04, 0.64, torch.tensor([0.0, 0.5, 1.0]))
    assert levels.tolist() == pytest.approx([0.04, 0.16, 0.64])
    x = torch.zeros(3, 3, 64, 64)
    deviations = noised(x, levels, torch.Generator().manual_seed(0)).std((1, 2, 3))
    assert deviations.tolist() == pytest.approx(levels.tolist(), rel=0.05)


@pytest.mark.parametrize(("max_gradient", "moved"), [(None, 10.0), (1.0, 1.0)])
def test_a_gradient_is_clipped_if_that_is_asked_for(max_gradient: float | None, moved: float) -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=7.0)
    loss = optimizer_step(optimizer, 1.0, lambda factor: factor * weight.sum(), (10,), CPU, max_gradient)
    assert loss.item() == 0
    assert not loss.requires_grad
    assert weight.item() == pytest.approx(-moved)


def test_a_training_is_told_by_settings_weights_and_data() -> None:
    torch.manual_seed(0)
    net, other, settings = nn.Linear(2, 2), nn.Linear(2, 2), DenoiserTraining()
    data, changed = np.arange(6).reshape(2, 3), np.arange(1, 7).reshape(2, 3)
    known = fingerprint(net, settings, data)
    assert known == fingerprint(net, DenoiserTraining(), data)
    others = {fingerprint(net, replace(settings, ema=0.9), data), fingerprint(other, settings, data)}
    assert len({known, *others, fingerprint(net, settings, changed)}) == 4


def train(out: Path, settings: PriorTraining = SETTINGS, **options) -> dict[str, torch.Tensor]:
    images = TrainingImages(lambda wanted: IMAGES[wanted], 8, 32)
    train_prior(TrainingRun(images, out, checkpoint_every=2, **options), settings)
    return load_file(out)


@pytest.mark.slow
def test_an_interrupted_training_of_a_prior_ends_with_the_same_weights(tmp_path: Path):
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
def test_the_loss_of_a_prior_falls(tmp_path: Path):
    losses: list[float] = []
    settings = PriorTraining(steps=30, batch=8, crop=16, warmup=5)
    train(tmp_path / "prior.safetensors", settings, on_step=lambda step, loss: losses.append(loss))
    assert sum(losses[-5:]) < sum(losses[:5])
