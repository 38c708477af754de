"""Training of the embedded prior: a denoiser that has seen many sizes, contrasts and noise levels.

The shipped weights were trained with this file on 64x64 natural images; the settings are stored in their metadata.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from elixir.data.cache import cache_pixels
from elixir.data.source import Source
from elixir.errors import ElixirError
from elixir.models.checkpoint import load_checkpoint, save_checkpoint
from elixir.models.denoiser import DenoiserNet
from elixir.models.precision import fast_dtype
from elixir.progress import Progress

KIND = "elixir.prior"
ReadPixels = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class PriorTraining:
    """Settings of one training; `sigma_*` are in [0,1] pixel units, `crop` is in pixels."""

    steps: int = 16000
    batch: int = 64
    crop: int = 32
    learning_rate: float = 8e-4
    warmup: int = 300
    decay_from: float = 0.6
    ema: float = 0.999
    sigma_min: float = 0.03
    sigma_max: float = 0.6
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Learning rate: linear warm-up, constant, then linear decay to zero over the last part."""
        start = self.decay_from * self.steps
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, (self.steps - step) / (self.steps - start))


def train_prior(
    read: ReadPixels,
    count: int,
    size: int,
    out: Path,
    settings: PriorTraining,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    device: torch.device | None = None,
    checkpoint_every: int = 500,
) -> None:
    """Train a denoiser and write its averaged weights to `out`; resumes from `out` + '.checkpoint' if that exists.

    The loss is the mean over the batch of log MSE, so that every noise level and every content, smooth or rough,
    weighs the same. Each step's batch and noise depend on (seed, step) alone.

    Args:
        read: maps int64 indices (n,) to uint8 images (n, 3, size, size).
        count: number of images that `read` knows.
        size: height and width of those images, at least twice `settings.crop`.
        out: the safetensors file (fp16) to write; its metadata holds the architecture and the settings.
        on_step: called after every step with the number of steps done and the loss.
        device: where to train; the CPU by default.
        checkpoint_every: steps.
    """
    device = device or torch.device("cpu")
    dtype = torch.float32 if fast_dtype(device) == torch.float32 else torch.bfloat16
    torch.manual_seed(settings.seed)
    net = DenoiserNet().to(device).to(memory_format=torch.channels_last)
    average = DenoiserNet().to(device).requires_grad_(False)
    average.load_state_dict(net.state_dict())
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=1e-4, fused=True)
    checkpoint = out.with_name(out.name + ".checkpoint")
    nets = {"net": net, "average": average}
    step = load_checkpoint(checkpoint, nets, optimizer)["step"] if checkpoint.exists() else 0
    while step < settings.steps:
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        clean = sample_batch(read, count, size, settings, generator)
        span = math.log(settings.sigma_max / settings.sigma_min)
        sigma = settings.sigma_min * torch.exp(span * torch.rand(len(clean), generator=generator))
        noisy = clean + sigma.view(-1, 1, 1, 1) * torch.randn(clean.shape, generator=generator)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            denoised = net(noisy.to(device), sigma.to(device))
        loss = ((denoised - clean.to(device)) ** 2).mean((1, 2, 3)).add(1e-6).log().mean()
        for group in optimizer.param_groups:
            group["lr"] = settings.rate_at(step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(settings.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, parameter in zip(average.parameters(), net.parameters(), strict=True):
                mean.lerp_(parameter, 1 - decay)
        on_step(step, loss.item())
        if step % checkpoint_every == 0:
            save_checkpoint(checkpoint, nets, optimizer, {"step": step})
            save_prior(average, out, settings, step)
    save_prior(average, out, settings, step)


def train_prior_on(
    source: Source, size: int, out: Path, settings: PriorTraining, device: torch.device, quiet: bool
) -> None:
    """Train on the images of a source; labels do not matter, samples without one are left out.

    The images are cached in `out` + '.pixels' until the training is done.

    Args:
        source: the images.
        size: side in pixels at which they are read, at least twice `settings.crop`.
        out: see `train_prior`.
        settings: of the training.
        device: where to train.
        quiet: no progress.

    Raises:
        ElixirError: `size` is too small.
    """
    if size < 2 * settings.crop:
        raise ElixirError(f"size {size} is too small: training needs images of at least {2 * settings.crop} pixels")
    progress = Progress(quiet)
    cache = out.with_name(out.name + ".pixels")
    cache.unlink(missing_ok=True)
    with progress.task("reading", len(source.samples)) as advance:
        store, rows = cache_pixels(source, cache, size, advance)
    with progress.task("training", settings.steps) as advance:
        train_prior(store.read, len(rows), size, out, settings, lambda step, loss: advance(1), device)
    store.close()
    cache.unlink()


def sample_batch(
    read: ReadPixels, count: int, size: int, settings: PriorTraining, generator: torch.Generator
) -> Tensor:
    """One batch of float images (n, 3, h, h) in [0,1]: shrunken, enlarged or native crops, flipped and re-exposed.

    A quarter of the batches are native crops of twice the size (and a quarter of the number), a sixth is enlarged and
    therefore smooth, the rest is shrunken by a factor between 1 and size / crop.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    kind = uniform(0, 1).item()
    crop, number = settings.crop, settings.batch
    if kind < 0.25:
        crop, number = 2 * crop, number // 4
        window = crop
    elif kind < 0.42:
        window = round(uniform(crop / 2, crop).item())
    else:
        window = round(uniform(crop, size).item())
    images = read(torch.randint(count, (number,), generator=generator)).float() / 255
    offsets = torch.randint(size - window + 1, (number, 2), generator=generator).tolist()
    x = torch.stack([im[:, i : i + window, j : j + window] for im, (i, j) in zip(images, offsets, strict=True)])
    if window != crop:
        x = F.interpolate(x, size=(crop, crop), mode="bicubic", antialias=True).clamp(0, 1)
    flip = uniform(0, 1, number) < 0.5
    x[flip] = x[flip].flip(-1)
    exposed = uniform(0, 1, number, 1, 1, 1) < 0.4
    gain, tint = uniform(0.15, 1.0, number, 1, 1, 1), uniform(0.8, 1.0, number, 3, 1, 1)
    offset = uniform(0, 1, number, 1, 1, 1) ** 3 * (1 - gain)
    x = torch.where(exposed, x * gain * tint + offset, x)
    grey = uniform(0, 1, number, 1, 1, 1) < 0.05
    return torch.where(grey, x.mean(1, keepdim=True).expand_as(x), x)


def save_prior(net: DenoiserNet, out: Path, settings: PriorTraining, step: int) -> None:
    """Write fp16 weights with their settings as metadata, through a temporary name."""
    tensors = {name: tensor.half().cpu().contiguous() for name, tensor in net.state_dict().items()}
    partial = out.with_name(out.name + ".partial")
    training = json.dumps({**asdict(settings), "steps_done": step})
    save_file(tensors, partial, {KIND: training})  # one entry: their order in the file is random
    os.replace(partial, out)
