"""The probability-flow ODE against flows known in closed form, and what it costs; and no purifier at all."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from elixir.errors import ElixirError
from elixir.purifiers.pf_ode import ProbabilityFlow, karras_sigmas
from elixir.registry import find

CPU = torch.device("cpu")
MEAN, DEVIATION = 0.45, 0.2


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


def test_none_leaves_the_noise_and_clips():
    none = find("purifiers", "none")(None, CPU)
    x, noise = torch.rand(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    noisy = x + 0.5 * noise
    assert torch.equal(none.denoise(noisy, 0.5), noisy)
    assert torch.equal(none.purify(x, 0.5, noise), noisy.clamp(0, 1))
    assert none.nfe == 0
