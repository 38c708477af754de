"""The reverse chain against diffusers' DDPM sampler, the probability flow against closed forms, and repainting."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from elixir.errors import ElixirError
from elixir.purifiers.network import load_prior
from elixir.purifiers.samplers import (
    ProbabilityFlow,
    ddpm_reverse,
    ddpm_sigmas,
    karras_sigmas,
    repaint,
    reverse_chain,
)
from elixir.registry import find

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
MEAN, DEVIATION = 0.45, 0.2
SIGMAS = (0.6, 0.45, 0.3, 0.2, 0.1)


def toy_denoiser(x: Tensor, sigma: float) -> Tensor:
    """Smooth, depends on sigma, leaves [0,1] at times."""
    return 0.5 + (x - 0.5) / (1 + 4 * sigma) + 0.3 * torch.sin(5 * x)


def draws(steps: int, shape: tuple[int, ...]) -> list[Tensor]:
    return list(torch.randn((steps, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64))


def test_sigmas_are_those_of_diffusers_schedule() -> None:
    kept = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02).alphas_cumprod.double()
    expected = ((1 - kept) / kept).sqrt()[:150].flip(0) / 2
    sigmas = ddpm_sigmas()
    assert len(sigmas) == 151
    assert sigmas[-1] == 0
    assert torch.allclose(torch.tensor(sigmas[:-1], dtype=torch.float64), expected, rtol=1e-4)
    assert sigmas[0] == pytest.approx(0.26, abs=0.002)


def test_chain_equals_ddpm_ancestral_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle is DDPMScheduler.step on the same denoiser written as an epsilon model in [-1,1] units."""
    steps, shape = 150, (2, 3, 4, 4)
    noise = draws(steps, shape)
    scheduler: Any = DDPMScheduler(1000, 1e-4, 0.02, variance_type="fixed_small", clip_sample=True)
    scheduler.alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    scheduler.set_timesteps(1000)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    state = scheduler.add_noise(2 * x - 1, noise[0], torch.tensor([steps - 1]))
    expected = []
    for step, t in enumerate(range(steps - 1, -1, -1), start=1):
        kept = scheduler.alphas_cumprod[t]
        y = state / kept.sqrt()
        sigma = ((1 - kept) / kept).sqrt()
        epsilon = (y - (2 * toy_denoiser((y + 1) / 2, float(sigma) / 2) - 1)) / sigma
        index = min(step, steps - 1)
        monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, i=index, **__: noise[i])
        state = scheduler.step(epsilon, t, state).prev_sample
        expected.append((state / 2 + 0.5).clamp(0, 1))

    images = ddpm_reverse(toy_denoiser, x, lambda step: noise[step], keep=steps)
    assert torch.allclose(torch.stack(images), torch.stack(expected), atol=1e-8)


def test_costs_one_call_a_step_and_keeps_the_last_states() -> None:
    sigmas = [0.3, 0.2, 0.1, 0.0]
    asked: list[object] = []

    def denoise(x: Tensor, sigma: float) -> Tensor:
        asked.append(sigma)
        return x

    def noise_at(step: int) -> Tensor:
        asked.append(step)
        return torch.zeros(1, 3, 2, 2)

    images = ddpm_reverse(denoise, torch.full((1, 3, 2, 2), 0.25), noise_at, sigmas, keep=2)
    assert asked == [0, 0.3, 1, 0.2, 2, 0.1]
    assert len(images) == 2
    assert torch.allclose(images[-1], torch.tensor(0.25))


def test_gaussian_data_comes_out_with_its_mean_and_deviation() -> None:
    """For data N(m, s^2) the posterior mean is (s^2 x + sigma^2 m) / (s^2 + sigma^2); sampling gives the data back."""
    mean, deviation = 0.5, 0.08

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return (deviation**2 * x + sigma**2 * mean) / (deviation**2 + sigma**2)

    sigmas = ddpm_sigmas(1000)
    noise = draws(1, (20000,))[0]
    generator = torch.Generator().manual_seed(2)
    start = mean + sigmas[0] * noise
    *_, last = reverse_chain(
        denoise, start, sigmas, lambda _: torch.randn(20000, generator=generator, dtype=torch.float64)
    )
    assert last.mean() == pytest.approx(mean, abs=4 * deviation / math.sqrt(20000))
    assert last.std() == pytest.approx(deviation, rel=0.05)


def test_two_point_data_comes_out_as_one_of_the_two_points() -> None:
    """For data uniform on {-1,+1} the posterior mean is tanh(y / t^2) in [-1,1] units, here t = 2 sigma."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return (torch.tanh((2 * x - 1) / (2 * sigma) ** 2) + 1) / 2

    noise = draws(150, (4000,))
    x = torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(2000)
    sigmas = ddpm_sigmas()
    start = x + sigmas[0] * noise[0]
    *_, last = reverse_chain(denoise, start, sigmas, lambda step: noise[step])
    assert torch.allclose(last, last.round(), atol=1e-6)
    flipped = (last.round() != x).double().mean()
    assert flipped == pytest.approx(float((denoise(start, sigmas[0]) - x).abs().mean()), abs=0.01)


class Gaussian:
    """The denoiser of data N(m, s^2): the posterior mean is (s^2 x + sigma^2 m) / (s^2 + sigma^2)."""

    nfe = 1

    def __init__(self) -> None:
        self.asked: list[float] = []

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        raise NotImplementedError

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        self.asked.append(sigma)
        return (DEVIATION**2 * noisy + sigma**2 * MEAN) / (DEVIATION**2 + sigma**2)


def closed_form(noisy: Tensor, sigma: float) -> Tensor:
    return MEAN + (noisy - MEAN) * DEVIATION / math.hypot(DEVIATION, sigma)


def test_grid_is_that_of_karras():
    """Times of the consistency model nearest to 2 * sigma for sigma .25, .5 and 1 (arXiv 2407.00623)."""
    sigmas = karras_sigmas(80, 18, 0.002)
    assert len(sigmas) == 19
    assert sigmas[0] == 80
    assert sigmas[-2:] == [pytest.approx(0.002), 0]
    assert sigmas == sorted(sigmas, reverse=True)
    for expected in (0.585, 1.088, 1.923):
        assert min(abs(sigma - expected) for sigma in sigmas) < 0.0005
    assert karras_sigmas(0.25, 1) == [0.25, 0]
    assert karras_sigmas(0.01, 3)[2] == pytest.approx(0.005)


@pytest.mark.parametrize("sigma", [0.12, 0.25, 0.5])
def test_gaussian_data(sigma: float):
    noisy = torch.linspace(-1, 2, 48, dtype=torch.float64).view(1, 3, 4, 4)
    errors = [
        (ProbabilityFlow(Gaussian(), steps).denoise(noisy, sigma) - closed_form(noisy, sigma)).abs().max().item()
        for steps in (1, 8, 16)
    ]
    assert errors[1] < errors[0] / 4
    assert errors[2] < errors[1]
    assert errors[1] < 0.06 * (noisy - MEAN).abs().max()


def test_many_steps_converge_with_the_first_order():
    noisy = torch.linspace(-1, 2, 48, dtype=torch.float64).view(1, 3, 4, 4)

    def error(steps: int) -> float:
        x = noisy
        sigmas = karras_sigmas(0.5, steps, 1e-4)
        for high, low in pairwise(sigmas):
            clean = Gaussian().denoise(x, high)
            x = x + (low - high) * (x - clean) / high
        return (x - closed_form(noisy, 0.5)).abs().max().item()

    assert error(400) == pytest.approx(error(200) / 2, rel=0.05)
    assert error(400) < 0.005


def test_purified_gaussian_data_has_the_deviation_of_the_data():
    generator = torch.Generator().manual_seed(0)
    clean = MEAN + DEVIATION * torch.randn(64, 3, 16, 16, generator=generator)
    noisy = clean + 0.25 * torch.randn(clean.shape, generator=generator)
    spread = ProbabilityFlow(Gaussian()).denoise(noisy, 0.25).std()
    assert spread == pytest.approx(DEVIATION, rel=0.1)
    assert Gaussian().denoise(noisy, 0.25).std() < 0.7 * DEVIATION


def test_costs_a_call_a_step():
    gaussian = Gaussian()
    flow = ProbabilityFlow(gaussian)
    x, noise = torch.rand(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    before = x.clone()
    out = flow.purify(x, 0.25, noise)
    assert flow.nfe == len(gaussian.asked) == 8
    assert gaussian.asked == karras_sigmas(0.25, 8)[:-1]
    assert torch.equal(out, flow.denoise(x + 0.25 * noise, 0.25).clamp(0, 1))
    assert torch.equal(x, before)


def test_embedded_prior_is_the_default():
    flow = find("purifiers", "pf-ode")(None, CPU)
    ramp = torch.linspace(0.2, 0.8, 32).expand(5, 3, 32, 32).contiguous()
    noise = torch.randn(ramp.shape, generator=torch.Generator().manual_seed(0))
    whole = flow.purify(ramp, 0.15, noise)
    assert (whole - ramp).square().mean().sqrt() < 0.15 / 2
    assert torch.equal(flow.purify(ramp[3:4], 0.15, noise[3:4]), whole[3:4])


def test_models_are_told_apart(tmp_path: Path):
    with pytest.raises(ElixirError, match="no weight file"):
        find("purifiers", "pf-ode")(str(tmp_path / "missing.safetensors"), CPU)
    with pytest.raises(ElixirError, match="no safetensors file"):
        find("purifiers", "pf-ode")(str(tmp_path), CPU)


GENERATOR = torch.Generator().manual_seed(0)


def patched() -> tuple[Tensor, Tensor, Tensor]:
    """A smooth ramp, the ramp with a chequered patch, and where that is."""
    ramp = torch.linspace(0.2, 0.8, 32).expand(1, 3, 32, 32).clone()
    where = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    where[..., 20:28, 20:28] = True
    checks = (torch.arange(32)[:, None] + torch.arange(32)).remainder(2).float()
    return ramp, torch.where(where, checks, ramp), where


def repaint_noise(sigma: float) -> Tensor:
    assert sigma in SIGMAS
    return torch.randn(1, 3, 32, 32, generator=GENERATOR)


def test_the_patch_gives_way_to_its_surroundings():
    ramp, image, where = patched()
    painted = repaint(load_prior(None, CPU), image, where, repaint_noise, SIGMAS)
    assert torch.equal(painted.where(~where, ramp), ramp)
    assert (painted - ramp).abs().max() < 0.15
    assert (image - ramp).abs().max() > 0.5


@pytest.mark.slow
def test_nothing_of_the_patch_is_used():
    ramp, image, where = patched()
    purifier = load_prior(None, CPU)
    GENERATOR.manual_seed(1)
    one = repaint(purifier, image, where, repaint_noise, SIGMAS)
    GENERATOR.manual_seed(1)
    assert torch.equal(one, repaint(purifier, ramp, where, repaint_noise, SIGMAS))
