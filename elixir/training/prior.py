"""Training of the embedded prior: a denoiser that has seen many sizes, contrasts and noise levels.

The shipped weights were trained with this file on 64x64 natural images; the settings are stored in their metadata.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from elixir.data.source import Source
from elixir.models.denoiser import PRIOR, DenoiserNet
from elixir.training.denoiser import DenoiserTraining, TrainingRun, log_uniform, noised, train_denoiser, training_on

LEAST_MSE = 1e-6
"""Added to each mean squared error before its logarithm is taken."""


@dataclass(frozen=True)
class PriorTraining(DenoiserTraining):
    """Settings of one training.

    Args:
        sigma_min: least noise level in [0,1] pixel units.
        sigma_max: the largest; in between, the logarithm is uniform.
    """

    kind = PRIOR

    weight_decay: float = 1e-4
    sigma_min: float = 0.03
    sigma_max: float = 0.6


def train_prior(run: TrainingRun, settings: PriorTraining) -> float:
    """Train a denoiser; see `train_denoiser`.

    The loss is the mean over the batch of log MSE, so that every noise level and every content, smooth or rough,
    weighs the same.
    """
    device = run.device
    torch.manual_seed(settings.seed)
    net = DenoiserNet().to(device).to(memory_format=torch.channels_last)

    def loss_of(clean: Tensor, generator: torch.Generator) -> Tensor:
        u = torch.rand(len(clean), generator=generator, device=device)
        sigma = log_uniform(settings.sigma_min, settings.sigma_max, u)
        denoised = net(noised(clean, sigma, generator), sigma)
        return ((denoised - clean) ** 2).mean((1, 2, 3)).add(LEAST_MSE).log().mean()

    return train_denoiser(run, settings, net, loss_of)


def train_prior_on(
    source: Source, size: int, out: Path, settings: PriorTraining, device: torch.device, quiet: bool
) -> float:
    """Train on the images of a source; see `training_on`. Returns the loss; see `train_denoiser`."""
    with training_on(source, size, out, settings, device, quiet) as run:
        return train_prior(run, settings)
