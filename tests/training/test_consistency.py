"""The consistency model: grid, boundary, probability flow and distillation on data known in closed form, training."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_consistency_models import CMStochasticIterativeScheduler
from safetensors import safe_open
from safetensors.torch import load_file
from small_world import png
from torch import Tensor

from elixir.data.open import open_source
from elixir.errors import ElixirError
from elixir.models.classifier import SmallResNet, save_classifier
from elixir.models.denoiser import CONSISTENCY, EPSILON, PRIOR, DenoiserNet, load_denoiser
from elixir.models.perceptual import PerceptualDistance
from elixir.models.schedules import karras_grid
from elixir.models.weights import read_weights, save_network
from elixir.training.consistency import (
    Distillation,
    FineTuning,
    distill,
    fine_tune,
    heun_step,
    train_consistency_on,
)
from elixir.training.crops import TrainingImages
from elixir.training.denoiser import TrainingRun
from elixir.training.frame import TrainingJob

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
PIXELS = torch.randint(0, 256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
IMAGES = TrainingImages(lambda wanted: PIXELS[wanted], 8, 32)
DISTILLATION = Distillation(steps=4, batch=4, crop=16, warmup=1)
FINE_TUNING = FineTuning(steps=4, batch=4, crop=16, warmup=1)


def small_net(epsilon: float = 0) -> DenoiserNet:
    torch.manual_seed(0)
    net = DenoiserNet((8, 8), (1, 1), epsilon)
    for name, parameter in net.named_parameters():
        if name.endswith("second.weight"):
            torch.nn.init.normal_(parameter, std=0.05)
    return net


@pytest.fixture(scope="module")
def distance() -> PerceptualDistance:
    torch.manual_seed(0)
    return PerceptualDistance(SmallResNet(3, widths=(8, 8)).eval())


def test_the_grid_is_that_of_the_paper_and_of_diffusers() -> None:
    grid = torch.tensor(karras_grid(80, 0.002, 18))
    scheduler = CMStochasticIterativeScheduler(num_train_timesteps=18)
    assert torch.allclose(grid, scheduler.sigmas.float(), rtol=1e-5)
    nearest = [grid[(grid - 2 * sigma).abs().argmin()].item() for sigma in (0.25, 0.5, 1)]
    assert nearest == pytest.approx([0.585, 1.088, 1.923], abs=5e-4)
    own = torch.tensor(karras_grid(0.6, EPSILON, 18))
    assert len(own) == 18
    assert (own[0].item(), own[-1].item()) == pytest.approx((0.6, EPSILON), rel=1e-6)
    assert (own.diff() < 0).all()


@pytest.mark.parametrize("size", [(16, 16), (13, 21)])
def test_at_epsilon_the_input_comes_back_exactly(size: tuple[int, int]) -> None:
    grey = torch.randint(-64, 320, (3, 3, *size), generator=torch.Generator().manual_seed(1)) / 256
    assert torch.equal(small_net(EPSILON)(grey, torch.full((3,), EPSILON)), grey)
    assert not torch.allclose(small_net()(grey, torch.full((3,), EPSILON)), grey, atol=1e-5)
    assert not torch.allclose(small_net(EPSILON)(grey, torch.full((3,), 0.2)), grey, atol=0.05)


@pytest.mark.parametrize("sigma", [0.01, 0.12, 0.6])
def test_scalings_are_those_of_the_paper(sigma: float) -> None:
    """In [-1,1] units s = 0.5 and epsilon = 0.002; a network that always says 1 shows c_skip y + c_out."""
    net, x = small_net(EPSILON), torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    net.tail.weight.data.zero_()
    torch.nn.init.ones_(net.tail.get_parameter("bias"))
    scheduler = CMStochasticIterativeScheduler()
    c_skip, c_out = scheduler.get_scalings_for_boundary_condition(torch.tensor(2 * sigma))
    with torch.no_grad():
        assert torch.allclose(2 * net(x, torch.tensor([sigma])) - 1, c_skip * (2 * x - 1) + c_out, atol=1e-6)


def posterior_mean(x: Tensor, sigma: Tensor) -> Tensor:
    """Of data uniform on {0,1} in [0,1] units: tanh(y / t^2) for y = 2 x - 1 in {-1,+1} and t = 2 sigma."""
    t = 2 * sigma.view(-1, 1, 1, 1)
    return (torch.tanh((2 * x - 1) / t**2) + 1) / 2


def flow_to_the_end(x: Tensor, grid: Tensor) -> Tensor:
    for high, low in pairwise(grid):
        x = heun_step(posterior_mean, x, high.expand(len(x)), low.expand(len(x)))
    return x


def test_the_flow_of_two_point_data_ends_at_the_sign() -> None:
    """A perfect consistency model returns sign(y), where the posterior mean is tanh(y / t^2)."""
    start = torch.linspace(-0.6, 1.6, 45).view(-1, 1, 1, 1)
    end = flow_to_the_end(start, torch.tensor(karras_grid(0.6, EPSILON, 40)))
    decided = (start - 0.5).abs() > 0.01
    assert torch.allclose(end[decided], ((2 * start - 1).sign()[decided] + 1) / 2, atol=0.01)
    mean = posterior_mean(start, torch.full((45,), 0.6))
    assert (mean - mean.round()).abs().max() > 0.4


def test_heun_is_of_second_order() -> None:
    """For Gaussian data of deviation d about 0 the flow is x(low) = x(high) sqrt((d^2 + low^2) / (d^2 + high^2))."""
    d = 0.2

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return x * (d**2 / (d**2 + sigma.view(-1, 1, 1, 1) ** 2))

    def error(levels: int) -> float:
        x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        grid = torch.linspace(0.6, 0.3, levels, dtype=torch.float64)
        for high, low in pairwise(grid):
            x = heun_step(denoise, x, high.expand(1), low.expand(1))
        return abs(x.item() - math.sqrt((d**2 + 0.3**2) / (d**2 + 0.6**2)))

    assert error(9) / error(17) == pytest.approx(4, rel=0.15)


def test_a_step_below_what_the_teacher_knows_leads_to_its_posterior_mean() -> None:
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.where(sigma.view(-1, 1, 1, 1) < 0.03, x + 0.1, x / 2)  # wrong by .1 where it has learned nothing

    x, high, low = torch.rand(3, 3, 4, 4), torch.full((3,), 0.03), torch.full((3,), EPSILON)
    ended = heun_step(denoise, x, high, low, 0.03)
    assert torch.allclose(ended, x / 2 + EPSILON / 0.03 * x / 2, atol=1e-6)
    assert (heun_step(denoise, x, high, low) - ended).abs().min() > 0.5  # .1 divided by .001, times half the step


def train(settings: Distillation | FineTuning, out: Path, distance: PerceptualDistance, **options) -> dict[str, Tensor]:
    run = TrainingRun(IMAGES, out, checkpoint_every=2, **options)
    if isinstance(settings, Distillation):
        distill(run, settings, small_net(), distance)
    else:
        fine_tune(run, settings, small_net(EPSILON), distance)
    return load_file(out)


@pytest.mark.parametrize("settings", [DISTILLATION, FINE_TUNING], ids=["distill", "finetune"])
def test_an_interrupted_training_ends_with_the_same_file(
    settings: Distillation | FineTuning, tmp_path: Path, distance: PerceptualDistance
) -> None:
    def stop(step: int, loss: Tensor) -> None:
        if step == 3:
            raise KeyboardInterrupt

    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(settings, a, distance, on_step=stop)
    assert {path.name for path in tmp_path.iterdir()} == {"a.safetensors.checkpoint"}
    with pytest.raises(ElixirError, match="other settings"):
        train(replace(settings, seed=1), a, distance)
    train(settings, a, distance)
    train(settings, b, distance)
    assert a.read_bytes() == b.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {a.name, b.name}
    other = train(replace(settings, seed=1), b, distance)
    assert not torch.equal(other["head.weight"], load_file(a)["head.weight"])


def test_settings_and_loss_are_in_the_file(tmp_path: Path, distance: PerceptualDistance) -> None:
    losses: list[float] = []
    out = tmp_path / "model.safetensors"
    settings = replace(FINE_TUNING, sigmas=(0.1, 0.3))
    train(settings, out, distance, on_step=lambda step, loss: losses.append(float(loss)))
    with safe_open(out, "pt") as file:
        written = json.loads(file.metadata()[CONSISTENCY])
    assert written["sigmas"] == [0.1, 0.3]
    assert written["steps"] == 4
    assert written["loss"] == pytest.approx(sum(losses[2:]) / 2, abs=1e-6)


@pytest.mark.parametrize("kind", [Distillation, FineTuning])
def test_the_loss_falls(kind: type[Distillation | FineTuning], tmp_path: Path, distance: PerceptualDistance) -> None:
    losses: list[float] = []
    settings = kind(steps=40, batch=32, crop=8, warmup=5, learning_rate=2e-3)
    train(settings, tmp_path / "m.safetensors", distance, on_step=lambda step, loss: losses.append(float(loss)))
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_a_loss_that_is_no_number_leaves_no_weights(tmp_path: Path, distance: PerceptualDistance) -> None:
    with pytest.raises(ElixirError, match="went astray"):
        train(replace(FINE_TUNING, learning_rate=1e30), tmp_path / "m.safetensors", distance)
    assert not (tmp_path / "m.safetensors").exists()
    with pytest.raises(ElixirError, match="noise levels"):
        replace(FINE_TUNING, sigmas=(-0.1,))


def test_the_teacher_and_the_initial_model_are_left_alone(tmp_path: Path, distance: PerceptualDistance) -> None:
    teacher, before = small_net(), small_net().state_dict()
    distill(TrainingRun(IMAGES, tmp_path / "a.safetensors"), DISTILLATION, teacher, distance)
    fine_tune(TrainingRun(IMAGES, tmp_path / "b.safetensors"), FINE_TUNING, teacher, distance)
    assert teacher.epsilon == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior, a classifier for features, and a folder of images."""
    folder = tmp_path_factory.mktemp("files")
    save_network(small_net(), folder / "prior.safetensors", PRIOR, {})
    save_classifier(SmallResNet(2, widths=(8, 8)), folder / "features.safetensors", ["a", "b"])
    (folder / "images" / "a").mkdir(parents=True)
    for index in range(4):
        pixels = PIXELS[index].permute(1, 2, 0).numpy()
        (folder / "images" / "a" / f"{index}.png").write_bytes(png(pixels))
    return folder


def test_one_stage_after_the_other_on_a_folder(files: Path, tmp_path: Path) -> None:
    source, features = open_source(files / "images", labelled=False), files / "features.safetensors"
    distilled, tuned = tmp_path / "distilled.safetensors", tmp_path / "tuned.safetensors"
    prior = files / "prior.safetensors"
    train_consistency_on(TrainingJob(source, 32, distilled, CPU, True), DISTILLATION, prior, features)
    train_consistency_on(TrainingJob(source, 32, tuned, CPU, True), FINE_TUNING, distilled, features)
    assert {path.name for path in tmp_path.iterdir()} == {distilled.name, tuned.name}
    assert load_denoiser(tuned, CONSISTENCY, epsilon=EPSILON).epsilon == EPSILON
    for path in (distilled, tuned):
        record = json.loads(read_weights(path)[1][CONSISTENCY])
        assert record["features_sha256"] == hashlib.sha256(features.read_bytes()).hexdigest()


def test_unsuitable_files_and_sizes_are_refused(files: Path, tmp_path: Path) -> None:
    source, features = open_source(files / "images", labelled=False), files / "features.safetensors"
    out, prior = tmp_path / "out.safetensors", files / "prior.safetensors"
    consistency = tmp_path / "consistency.safetensors"
    save_network(small_net(), consistency, CONSISTENCY, {})
    refused = [
        (DISTILLATION, consistency, features, 32, "no prior.*train prior"),
        (DISTILLATION, prior, prior, 32, "no classifier"),
        (DISTILLATION, prior, features, 31, "too small.*at least 32"),
        (FINE_TUNING, None, features, 32, "--initial"),
        (FINE_TUNING, features, features, 32, "no consistency.*train consistency"),
    ]
    for settings, initial, distance, size, message in refused:
        with pytest.raises(ElixirError, match=message):
            train_consistency_on(TrainingJob(source, size, out, CPU, True), settings, initial, distance)
