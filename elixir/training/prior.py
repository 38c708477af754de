"""Training of the embedded prior: a denoiser that has seen many sizes, contrasts and noise levels.

The shipped weights were trained with this file on 64x64 natural images; the settings are stored in their metadata.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from elixir.data.source import Source
from elixir.models.denoiser import PRIOR, DenoiserNet
from elixir.training.crops import TrainingImages
from elixir.training.denoiser import DenoiserTraining, OnStep, train_denoiser, training_on


@dataclass(frozen=True)
class PriorTraining(DenoiserTraining):
    """Settings of one training.

    Args:
        sigma_min: least noise level in [0,1] pixel units.
        sigma_max: the largest; in between, the logarithm is uniform.
    """

    sigma_min: float = 0.03
    sigma_max: float = 0.6


def train_prior(
    images: TrainingImages,
    out: Path,
    settings: PriorTraining,
    on_step: OnStep = lambda step, loss: None,
    device: torch.device | None = None,
    checkpoint_every: int = 500,
) -> None:
    """Train a denoiser and write its averaged weights to `out`; resumes from `out` + '.checkpoint' if that exists.

    The loss is the mean over the batch of log MSE, so that every noise level and every content, smooth or rough,
    weighs the same. Each step's batch and noise depend on (seed, step) and the kind of device alone.

    Args:
        images: to train on.
        out: the safetensors file (fp16) to write; its metadata holds the settings.
        settings: of the training.
        on_step: see `train_denoiser`.
        device: where to train; the CPU by default.
        checkpoint_every: steps.
    """
    device = device or torch.device("cpu")
    torch.manual_seed(settings.seed)
    net = DenoiserNet().to(device).to(memory_format=torch.channels_last)
    average = DenoiserNet().to(device).requires_grad_(False)
    average.load_state_dict(net.state_dict())
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=1e-4, fused=True)
    span = math.log(settings.sigma_max / settings.sigma_min)

    def loss_of(clean: Tensor, generator: torch.Generator) -> Tensor:
        u = torch.rand(len(clean), generator=generator, device=device)
        sigma = settings.sigma_min * torch.exp(span * u)
        noise = torch.randn(clean.shape, generator=generator, device=device)
        denoised = net(clean + sigma.view(-1, 1, 1, 1) * noise, sigma)
        return ((denoised - clean) ** 2).mean((1, 2, 3)).add(1e-6).log().mean()

    averages = {"average": (average, settings.ema)}
    train_denoiser(net, averages, optimizer, loss_of, images, out, PRIOR, settings, on_step, device, checkpoint_every)


def train_prior_on(
    source: Source, size: int, out: Path, settings: PriorTraining, device: torch.device, quiet: bool
) -> None:
    """Train on the images of a source; labels do not matter, samples without one are left out.

    Args:
        source: the images, cached in `out` + '.pixels' until the training is done.
        size: side in pixels at which they are read, at least twice `settings.crop`.
        out: see `train_prior`.
        settings: of the training.
        device: where to train.
        quiet: no progress.

    Raises:
        ElixirError: `size` is too small.
    """
    with training_on(source, size, out, settings, device, quiet) as (images, on_step):
        train_prior(images, out, settings, on_step, device)
