"""Training of IMPure: resumable, decided by the seed, and what its loss is made of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from small_world import png
from torch import Tensor
from torch.nn import functional as F

from elixir.data.open import open_source
from elixir.errors import ElixirError
from elixir.models import impure
from elixir.models.classifier import SmallResNet, save_classifier
from elixir.models.impure import KIND, MASKED, Architecture, Attenuation, ImpureNet, load_impure
from elixir.models.perceptual import PerceptualDistance
from elixir.models.weights import read_weights, sha256_of
from elixir.training.crops import TrainingImages
from elixir.training.denoiser import OnStep, TrainingRun
from elixir.training.frame import TrainingJob
from elixir.training.impure import (
    FineTuning,
    ImpureTraining,
    fine_tune,
    mix_patches,
    noise_levels,
    pgd,
    pretrain,
    rebuilt,
    train_impure_on,
)

pytestmark = pytest.mark.slow

COARSE = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
PIXELS = (F.interpolate(COARSE, (32, 32), mode="bilinear") * 255).to(torch.uint8)
IMAGES = TrainingImages(lambda wanted: PIXELS[wanted], 8, 32)
PRETRAINING = ImpureTraining(architecture="tiny", steps=5, batch=8, crop=16, warmup=1)
FINE_TUNING = FineTuning(architecture="tiny", steps=5, batch=8, crop=16, warmup=1, attack_steps=2)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(impure.ARCHITECTURES, "tiny", Architecture(4, 16, 2, 2, (0, 1), 16, 2, 1))


@pytest.fixture
def distance() -> PerceptualDistance:
    torch.manual_seed(3)
    return PerceptualDistance(SmallResNet(5, widths=(8, 8)).eval())


def small_net() -> ImpureNet:
    torch.manual_seed(0)
    return ImpureNet("tiny")


def silent(step: int, loss: Tensor) -> None:
    pass


def train(
    settings: ImpureTraining, out: Path, distance: PerceptualDistance, on_step: OnStep = silent
) -> dict[str, Tensor]:
    run = TrainingRun(IMAGES, out, on_step=on_step, checkpoint_every=2)
    if isinstance(settings, FineTuning):
        fine_tune(run, settings, small_net(), distance)
    else:
        pretrain(run, settings)
    return load_file(out)


@pytest.mark.parametrize("settings", [PRETRAINING, FINE_TUNING], ids=["pretrain", "finetune"])
def test_an_interrupted_training_ends_with_the_same_file(
    settings: ImpureTraining, tmp_path: Path, distance: PerceptualDistance
) -> None:
    def stop(step: int, loss: Tensor) -> None:
        if step == 3:
            raise KeyboardInterrupt

    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(settings, a, distance, stop)
    assert {path.name for path in tmp_path.iterdir()} == {"a.safetensors.checkpoint"}
    with pytest.raises(ElixirError, match="other settings"):
        train(replace(settings, masked=0.5), a, distance)
    train(settings, a, distance)
    train(settings, b, distance)
    assert a.read_bytes() == b.read_bytes()
    assert load_impure(a).architecture.width == 16
    with safe_open(a, "pt") as file:
        assert json.loads(file.metadata()[KIND])["feature_time"] == (600 if settings is FINE_TUNING else 800)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [PRETRAINING, FINE_TUNING], ids=["pretrain", "finetune"])
def test_the_loss_falls(settings: ImpureTraining, tmp_path: Path, distance: PerceptualDistance) -> None:
    losses: list[float] = []
    settings = replace(settings, steps=60, warmup=5, learning_rate=3e-3)
    train(settings, tmp_path / "m.safetensors", distance, lambda step, loss: losses.append(float(loss)))
    assert np.mean(losses[-15:]) < 0.9 * np.mean(losses[:15])


def test_mixing_ratios_are_exact() -> None:
    rebuilt, seen = torch.zeros(200, 3, 28, 20), torch.ones(200, 3, 28, 20)
    mixed = mix_patches(rebuilt, seen, 4, torch.Generator().manual_seed(0))
    patches = F.unfold(mixed, 4, stride=4)
    assert torch.equal(patches.amin(1), patches.amax(1))
    counts, times = patches[:, 0].sum(1).unique(return_counts=True)
    assert counts.tolist() == [35 // 4, 35 // 3, 35 // 2]
    assert times.min() > 40
    assert patches[:, 0].mean(0).min() > 0.2


def test_noise_is_on_the_share_of_images_that_is_asked_for() -> None:
    sigma = noise_levels(4000, FINE_TUNING, torch.Generator().manual_seed(0))
    assert 0.22 < (sigma > 0).float().mean() < 0.28
    assert sigma[sigma > 0].min() >= 0.03 - 1e-6
    assert sigma.max() <= 0.6 + 1e-6


def test_each_image_draws_its_own_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Attenuation] = []

    def remember(net: ImpureNet, x: Tensor, sigma: Tensor, keep: Attenuation) -> Tensor:
        drawn.append(keep)
        return x

    monkeypatch.setattr(ImpureNet, "forward", remember)
    seen = torch.rand(2000, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    rebuilt(small_net(), seen, PRETRAINING, torch.Generator().manual_seed(1))
    (keep,) = drawn
    signal = impure.ddpm_signal()
    hidden = keep.feature_signal == signal[MASKED]
    assert 0.22 < hidden.float().mean() < 0.28
    assert keep.feature_signal[~hidden].min() >= signal[799]
    assert keep.pixel_signal.min() >= signal[599]
    assert keep.pixels.shape == seen.shape


def test_pgd_stays_within_eps_and_raises_the_loss(distance: PerceptualDistance) -> None:
    x = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    eps = torch.tensor([0.0, 0.01, 0.02, 0.05, 0.05, 0.1]).view(-1, 1, 1, 1)
    net = distance.classifier
    adversarial = pgd(net, x, eps, 4, torch.Generator().manual_seed(1))
    assert torch.equal(adversarial[0], x[0])
    assert ((adversarial - x).abs() <= eps + 1e-6).all()
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    labels = net(x)[0].argmax(1)
    before, after = (F.cross_entropy(net(image)[0], labels, reduction="none") for image in (x, adversarial))
    assert (after[1:] > before[1:]).all()
    assert all(parameter.grad is None for parameter in net.parameters())


def test_one_stage_after_the_other_on_a_folder(tmp_path: Path) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    for index, pixels in enumerate(PIXELS[:4]):
        (tmp_path / "images" / "a" / f"{index}.png").write_bytes(png(pixels.permute(1, 2, 0).numpy()))
    features = tmp_path / "features.safetensors"
    save_classifier(SmallResNet(2, widths=(8, 8)), features, ["a", "b"])
    source = open_source(tmp_path / "images", labelled=False)
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    train_impure_on(TrainingJob(source, 32, first, CPU, True), PRETRAINING)
    train_impure_on(TrainingJob(source, 32, second, CPU, True), FINE_TUNING, first, features)
    assert not torch.equal(load_impure(first).token, load_impure(second).token)
    record = json.loads(read_weights(second)[1][KIND])
    assert record["features_sha256"] == sha256_of(features)
    refused = [
        (PRETRAINING, first, None, "leave out --initial"),
        (FINE_TUNING, None, features, "with --initial"),
        (FINE_TUNING, features, features, "no impure"),
        (FINE_TUNING, first, first, "no classifier"),
    ]
    for settings, initial, judge, message in refused:
        with pytest.raises(ElixirError, match=message):
            train_impure_on(TrainingJob(source, 32, second, CPU, True), settings, initial, judge)
