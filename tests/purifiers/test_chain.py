"""The reverse chain against diffusers' DDPM sampler and against posteriors known in closed form."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from elixir.purifiers.chain import ddpm_reverse, ddpm_sigmas, reverse_chain


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
