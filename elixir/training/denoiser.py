"""The training loop of all denoisers: averaged weights, safetensors, resumable, and no waiting for the device."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from elixir.data.source import Source
from elixir.errors import ElixirError
from elixir.models.denoiser import save_denoiser
from elixir.models.device import training_dtype
from elixir.progress import Progress
from elixir.training.checkpoint import load_checkpoint, save_checkpoint
from elixir.training.crops import TrainingImages, cached_images, sample_crops

LossOf = Callable[[Tensor, torch.Generator], Tensor]
OnStep = Callable[[int, Tensor], None]


@dataclass(frozen=True)
class DenoiserTraining:
    """Settings of one training; all fields go into the metadata of the weights.

    Args:
        steps: of the optimizer.
        batch: crops a step.
        crop: their height and width in pixels.
        learning_rate: at its peak.
        warmup: steps in which it rises to that.
        decay_from: share of the steps after which it falls linearly to zero.
        ema: decay of the moving average of the weights, which is what is kept.
        seed: decides initial weights, batches and noise.
    """

    steps: int = 16000
    batch: int = 64
    crop: int = 32
    learning_rate: float = 8e-4
    warmup: int = 300
    decay_from: float = 0.6
    ema: float = 0.999
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Learning rate: linear warm-up, constant, then linear decay to zero over the last part."""
        start = self.decay_from * self.steps
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, (self.steps - step) / (self.steps - start))


def train_denoiser(
    net: nn.Module,
    averages: Mapping[str, tuple[nn.Module, float]],
    optimizer: torch.optim.Optimizer,
    loss_of: LossOf,
    images: TrainingImages,
    out: Path,
    kind: str,
    settings: DenoiserTraining,
    on_step: OnStep,
    device: torch.device,
    checkpoint_every: int,
) -> float:
    """Train and write the weights of averages["average"] to `out`.

    An interrupted training goes on from `out` + '.checkpoint'. Each step's batch and noise depend on (seed,
    step) and the kind of device alone.

    Args:
        net: a network that maps noisy images and noise levels to clean images, on `device`.
        averages: networks whose weights follow those of `net`, with the decay (less in the first steps) of the moving
            average; among them "average".
        optimizer: of the parameters of `net`.
        loss_of: maps clean crops (n, 3, h, h) on `device`, and the generator of the noise there, to a scalar; called
            under autocast.
        images: to train on.
        out: the safetensors file (fp16) to write.
        kind: see `save_denoiser`.
        settings: see `DenoiserTraining`.
        on_step: called after every step with the number of steps done and the loss, a scalar on `device`: to read it is
            to wait for the device.
        device: where to train.
        checkpoint_every: steps.

    Returns:
        The mean loss since the last checkpoint, which is also in the metadata.

    Raises:
        ElixirError: the checkpoint is of another training, or the loss is not finite.
    """
    dtype = training_dtype(device)
    checkpoint = out.with_name(out.name + ".checkpoint")
    nets = {"net": net} | {name: follower for name, (follower, _) in averages.items()}
    mine, step = _fingerprint(net, kind, settings, images), 0
    if checkpoint.exists():
        step = load_checkpoint(checkpoint, nets, optimizer, mine)["step"]
    losses: list[Tensor] = []
    while step < settings.steps:
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        clean = sample_crops(images, settings.crop, settings.batch, generator, device)
        draws = generator
        if device.type != "cpu":
            draws = torch.Generator(device).manual_seed(generator.initial_seed())
        for group in optimizer.param_groups:
            group["lr"] = settings.rate_at(step)
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = loss_of(clean, draws)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        for follower, decay in averages.values():
            average = get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))
            average(list(follower.parameters()), list(net.parameters()), step)
        losses.append(loss.detach())
        on_step(step, losses[-1])
        if step % checkpoint_every == 0 and step < settings.steps:
            save_checkpoint(checkpoint, nets, optimizer, {"step": step, "fingerprint": mine})
            losses.clear()
    mean = torch.stack(losses).mean().item()
    if not math.isfinite(mean):
        raise ElixirError("the training went astray: its loss is no number any more; nothing has been written")
    save_denoiser(nets["average"], out, kind, asdict(settings) | {"loss": round(mean, 6)})
    checkpoint.unlink(missing_ok=True)
    return mean


@contextmanager
def training_on(
    source: Source, size: int, out: Path, settings: DenoiserTraining, device: torch.device, quiet: bool
) -> Iterator[tuple[TrainingImages, OnStep]]:
    """The images of a source to train on, and what shows how far the training is; labels do not matter.

    Args:
        source: the images, cached in `out` + '.pixels' until the training is done; samples without a label are left
            out.
        size: side in pixels at which they are read, at least twice `settings.crop`.
        out: the file that is being trained.
        settings: of the training.
        device: where to train.
        quiet: no progress.

    Raises:
        ElixirError: see `cached_images`.
    """
    progress = Progress(quiet)
    with (
        cached_images(source, size, settings.crop, out, progress, device) as images,
        progress.task("training", settings.steps) as advance,
    ):
        yield images, lambda step, loss: advance(1)


def _fingerprint(net: nn.Module, kind: str, settings: DenoiserTraining, images: TrainingImages) -> int:
    """Of what a training is, where it starts, and three of its images."""
    digest = zlib.crc32(json.dumps([kind, asdict(settings), images.count, images.size]).encode())
    some = images.read(torch.tensor([0, images.count // 2, images.count - 1]))
    digest = zlib.crc32(some.cpu().contiguous().numpy().tobytes(), digest)
    for tensor in net.state_dict().values():
        digest = zlib.crc32(tensor.float().cpu().numpy().tobytes(), digest)
    return digest
