"""Training of the consistency model: distilled from the embedded prior, then tuned to one step at a few noise levels.

The perceptual distance is the only loss: its first layer sees brightness and colour, so that no pixel term is needed.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from elixir.errors import ElixirError
from elixir.models.backbone import FEATURES
from elixir.models.denoiser import CONSISTENCY, EPSILON, PRIOR, DenoiserNet, load_denoiser
from elixir.models.device import training_dtype
from elixir.models.perceptual import PerceptualDistance, load_perceptual
from elixir.models.schedules import RHO, karras_grid
from elixir.models.weights import SHIPPED, sha256_of
from elixir.training.denoiser import DenoiserTraining, TrainingRun, noised, train_denoiser, training_on
from elixir.training.frame import TrainingJob

Denoise = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ConsistencyTraining(DenoiserTraining):
    """Settings that both trainings have; a training goes on with no other classifier behind the perceptual distance."""

    kind = CONSISTENCY

    features_sha256: str | None = None

    def optimizer(self, net: nn.Module) -> torch.optim.Optimizer:
        """RAdam, as in the paper."""
        return torch.optim.RAdam(net.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class Distillation(ConsistencyTraining):
    """Settings of a consistency distillation (Song et al. 2023, algorithm 2, and its settings for CIFAR-10).

    Args:
        sigma_min: least noise level, in [0,1] pixel units, that the teacher knows; then one step leads to `EPSILON`.
        levels: number of noise levels, `EPSILON` included.
        rho: see `karras_grid`.
        target: decay of the moving average of the weights that gives the targets.
    """

    steps: int = 8000
    learning_rate: float = 4e-4
    sigma_max: float = 0.6
    sigma_min: float = 0.03
    levels: int = 18
    rho: float = RHO
    target: float = 0.95


@dataclass(frozen=True)
class FineTuning(ConsistencyTraining):
    """Settings of a consistency fine-tuning at equally likely noise levels (arXiv 2407.00623, section 4.2)."""

    steps: int = 6000
    learning_rate: float = 1e-4
    sigmas: tuple[float, ...] = (0.12, 0.25, 0.5)

    def __post_init__(self) -> None:
        if not all(0 < sigma <= 1 for sigma in self.sigmas):
            raise ElixirError(f"noise levels {list(self.sigmas)} must lie in (0, 1], in [0,1] pixel units")


def heun_step(denoise: Denoise, x: Tensor, high: Tensor, low: Tensor, least: float = 0.0) -> Tensor:
    """One step of the probability flow dx/dsigma = (x - D(x, sigma)) / sigma (Karras et al. 2022, algorithm 1).

    It leads from states (n, c, h, w) at noise levels `high` (n,) to those at lower ones, `low`, above 0, and takes two
    calls of `denoise`. A step that ends below the noise `least` that `denoise` knows is Euler's: the error of a second
    order would be divided by a small sigma.
    """

    def slope(x: Tensor, sigma: Tensor) -> Tensor:
        return (x - denoise(x, sigma)) / sigma.view(-1, 1, 1, 1)

    step = (low - high).view(-1, 1, 1, 1)
    first = slope(x, high)
    second = slope(x + step * first, low)
    return x + step * torch.where((low >= least).view(-1, 1, 1, 1), (first + second) / 2, first)


def distill(run: TrainingRun, settings: Distillation, teacher: DenoiserNet, distance: PerceptualDistance) -> float:
    """Distill a prior into a consistency model, starting from its weights (Song et al. 2023, algorithm 2).

    The loss is the distance of D(x + high z, high) to the target's D at the next lower level of the grid, at the point
    where the teacher's probability flow leads. `distance` is on `run.device`; for the rest see `train_denoiser`.
    """
    device = run.device
    fixed = deepcopy(teacher).requires_grad_(False).to(device, training_dtype(device))
    fixed = fixed.to(memory_format=torch.channels_last)
    net, target = _student(teacher, device), _student(teacher, device).requires_grad_(False)
    levels = [*karras_grid(settings.sigma_max, settings.sigma_min, settings.levels - 1, settings.rho), EPSILON]
    grid = torch.tensor(levels, device=device)

    def loss_of(clean: Tensor, generator: torch.Generator) -> Tensor:
        level = torch.randint(settings.levels - 1, (len(clean),), generator=generator, device=device)
        high, low = grid[level], grid[level + 1]
        noisy = noised(clean, high, generator)
        with torch.no_grad():
            wanted = target(heun_step(fixed, noisy, high, low, settings.sigma_min), low)
        return distance(net(noisy, high), wanted).mean()

    return train_denoiser(run, settings, net, loss_of, {"target": (target, settings.target)})


def fine_tune(run: TrainingRun, settings: FineTuning, initial: DenoiserNet, distance: PerceptualDistance) -> float:
    """Tune a consistency model to give the clean image back in one step (arXiv 2407.00623, section 4.2).

    The loss is the distance of D(x + sigma z, sigma) to x. The training starts from the weights of `initial`;
    `distance` is on `run.device`. For the rest see `train_denoiser`.
    """
    device = run.device
    net = _student(initial, device)
    sigmas = torch.tensor(settings.sigmas, device=device)

    def loss_of(clean: Tensor, generator: torch.Generator) -> Tensor:
        sigma = sigmas[torch.randint(len(sigmas), (len(clean),), generator=generator, device=device)]
        return distance(net(noised(clean, sigma, generator), sigma), clean).mean()

    return train_denoiser(run, settings, net, loss_of)


def _student(initial: DenoiserNet, device: torch.device) -> DenoiserNet:
    """A consistency model on `device` with the weights of `initial`."""
    net = deepcopy(initial).requires_grad_(True).to(device).to(memory_format=torch.channels_last)
    net.epsilon = EPSILON
    return net


def train_consistency_on(
    job: TrainingJob, settings: Distillation | FineTuning, initial: Path | None = None, features: Path | None = None
) -> float:
    """Distill or fine-tune, as the class of the settings says, on the images of a source; see `training_on`.

    `initial` are weights to start from: a prior to distill, None for the shipped one; a distilled model (or, to see
    what distillation is worth, a prior) to fine-tune, else an ElixirError. `features` is the classifier for the
    perceptual distance, None for the shipped one.
    """
    if isinstance(settings, Distillation):
        start = load_denoiser(initial or SHIPPED / "prior.safetensors", PRIOR)
    elif initial is not None:
        start = load_denoiser(initial, CONSISTENCY, PRIOR)
    else:
        raise ElixirError("fine-tuning starts from a distilled model: give its file with --initial")
    distance = load_perceptual(features, job.device)
    settings = replace(settings, features_sha256=sha256_of(features or FEATURES))
    with training_on(job, settings) as run:
        if isinstance(settings, Distillation):
            return distill(run, settings, start, distance)
        return fine_tune(run, settings, start, distance)
