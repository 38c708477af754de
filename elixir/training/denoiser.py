"""Training of denoisers, resumable and without waiting for the device, and of the embedded prior among them.

The shipped prior was trained with this file on 64x64 natural images; its settings are in its metadata.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from elixir.errors import ElixirError
from elixir.models.denoiser import PRIOR, DenoiserNet
from elixir.models.weights import save_network
from elixir.progress import Progress
from elixir.training.crops import CPU, TrainingImages, moved_to, sample_crops
from elixir.training.frame import Checkpoint, TrainingJob, checkpoint_of, fingerprint, optimizer_step, training_pixels

LossOf = Callable[[Tensor, torch.Generator], Tensor]
OnStep = Callable[[int, Tensor], None]

RESIDENT = 2**33
"""Most bytes of images that are kept on a GPU, so that it does not wait for the disk."""
LEAST_MSE = 1e-6
"""Added to each mean squared error before its logarithm is taken."""
SEED_STRIDE = 1_000_003
"""Step s of seed n draws with the generator of seed n * SEED_STRIDE + s."""


@dataclass(frozen=True)
class DenoiserTraining:
    """Settings of one training; all fields go into the metadata of the weights.

    Args:
        batch: crops a step.
        crop: their height and width in pixels.
        learning_rate: at its peak, which is reached after `warmup` steps.
        decay_from: share of the steps after which it falls linearly to zero.
        max_gradient: norm to which the gradient is clipped.
        ema: decay of the moving average of the weights; the average is what is written.
        seed: decides initial weights, batches and noise.
    """

    kind: ClassVar[str]
    """See `save_network`."""

    steps: int = 16000
    batch: int = 64
    crop: int = 32
    learning_rate: float = 8e-4
    warmup: int = 300
    decay_from: float = 0.6
    weight_decay: float = 0.0
    max_gradient: float = 1.0
    ema: float = 0.999
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Learning rate: linear warm-up, constant, then linear decay to zero over the last part."""
        start = self.decay_from * self.steps
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, (self.steps - step) / (self.steps - start))

    def optimizer(self, net: nn.Module) -> torch.optim.Optimizer:
        """AdamW for the parameters of a network."""
        return torch.optim.AdamW(net.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True)
class TrainingRun:
    """Data, output and progress of one training of a denoiser.

    Args:
        out: the safetensors file (fp16) for the averaged weights; its metadata holds the settings and the loss. An
            interrupted training goes on from `out` + '.checkpoint'.
        on_step: called after every step with the number of steps done and the loss, a scalar on `device`: to read it is
            to wait for the device.
        checkpoint_every: steps.
    """

    images: TrainingImages
    out: Path
    device: torch.device = CPU
    on_step: OnStep = lambda step, loss: None
    checkpoint_every: int = 500


def train_denoiser(
    run: TrainingRun,
    settings: DenoiserTraining,
    net: nn.Module,
    loss_of: LossOf,
    averages: Mapping[str, tuple[nn.Module, float]] | None = None,
) -> float:
    """Train a network, write the moving average of its weights to `run.out`, and return the loss since the last save.

    Each step's batch and noise depend on (seed, step) and the kind of device alone.

    Args:
        net: maps noisy images and noise levels to clean images, on `run.device`.
        loss_of: maps clean crops (n, 3, h, h) on the device, and the generator of the noise there, to a scalar; called
            under autocast.
        averages: more networks whose weights follow those of `net`, by name, with the decay of the moving average.

    Raises: ElixirError: the checkpoint is of another training, or the loss is not finite.
    """
    images, device = run.images, run.device
    followers = {"average": (deepcopy(net).requires_grad_(False), settings.ema), **(averages or {})}
    nets = {"net": net} | {name: follower for name, (follower, _) in followers.items()}
    optimizer = settings.optimizer(net)
    some = images.read(torch.tensor([0, images.count // 2, images.count - 1])).cpu().numpy()
    identity = fingerprint(net, (settings.kind, settings, images.count, images.size), some)
    checkpoint = Checkpoint(checkpoint_of(run.out), nets, optimizer, identity)
    step = checkpoint.load().get("step", 0)
    losses: list[Tensor] = []
    while step < settings.steps:
        generator = torch.Generator().manual_seed(settings.seed * SEED_STRIDE + step)
        clean = sample_crops(images, settings.crop, settings.batch, generator, device)
        draws = generator if device.type == "cpu" else torch.Generator(device).manual_seed(generator.initial_seed())
        rate = settings.rate_at(step)
        loss = optimizer_step(optimizer, rate, loss_of, (clean, draws), device, settings.max_gradient)
        step += 1
        for follower, decay in followers.values():
            average = get_ema_multi_avg_fn(average_decay(step, decay))
            average(list(follower.parameters()), list(net.parameters()), step)
        losses.append(loss)
        run.on_step(step, loss)
        if step % run.checkpoint_every == 0 and step < settings.steps:
            checkpoint.save(step=step)
            losses.clear()
    mean = torch.stack(losses).mean().item()
    if not math.isfinite(mean):
        raise ElixirError("the training went astray: its loss is no number any more; nothing has been written")
    save_network(nets["average"], run.out, settings.kind, asdict(settings) | {"loss": round(mean, 6)}, torch.float16)
    checkpoint.remove()
    return mean


def average_decay(step: int, decay: float) -> float:
    """Decay of a moving average at step 1, 2, ...: less in the first steps, min(decay, (1 + step) / (10 + step))."""
    return min(decay, (1 + step) / (10 + step))


def log_uniform(low: float, high: float, u: Tensor) -> Tensor:
    """Noise levels between `low` and `high`, uniform in the logarithm for u uniform in [0,1]."""
    return low * torch.exp(math.log(high / low) * u)


def noised(x: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Images (n, c, h, w) plus Gaussian noise of deviations (n,)."""
    return x + sigma.view(-1, 1, 1, 1) * torch.randn(x.shape, generator=generator, device=x.device)


@contextmanager
def training_on(job: TrainingJob, settings: DenoiserTraining) -> Iterator[TrainingRun]:
    """The run of a training on the images of a source, with a progress bar; labels do not matter.

    The images are cached as by `training_pixels`, and on a GPU if there are at most `RESIDENT` bytes.

    Raises: ElixirError: they are not twice as large as the crops; see `training_pixels`.
    """
    if job.size < 2 * settings.crop:
        raise ElixirError(f"size {job.size} is too small: training needs images of at least {2 * settings.crop} pixels")
    progress = Progress(job.quiet)
    with training_pixels(job, progress) as (store, rows), progress.task("training", settings.steps) as advance:
        read = store.read
        if job.device.type == "cuda" and 3 * job.size**2 * len(rows) <= RESIDENT:
            pixels = store.read(torch.arange(len(rows))).to(job.device)
            read = lambda wanted: pixels[moved_to(wanted, job.device)]  # noqa: E731
        images = TrainingImages(read, len(rows), job.size)
        yield TrainingRun(images, job.out, job.device, lambda step, loss: advance(1))


@dataclass(frozen=True)
class PriorTraining(DenoiserTraining):
    """Settings of a prior's training, at noise levels in [0,1] pixel units whose logarithm is uniform."""

    kind = PRIOR

    weight_decay: float = 1e-4
    sigma_min: float = 0.03
    sigma_max: float = 0.6


def train_prior(run: TrainingRun, settings: PriorTraining) -> float:
    """Train a denoiser; see `train_denoiser`.

    The loss is the mean of log MSE, so that every noise level and every content, smooth or rough, weighs the same.
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


def train_prior_on(job: TrainingJob, settings: PriorTraining) -> float:
    """Train on the images of a source and return the loss; see `training_on` and `train_denoiser`."""
    with training_on(job, settings) as run:
        return train_prior(run, settings)
