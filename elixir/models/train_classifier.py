"""Training of the small classifier on a pixel cache: deterministic by seed, resumable by epoch."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

from elixir.models.classifier import SmallResNet
from elixir.models.precision import fast_dtype
from elixir.randomness import generator

ReadPixels = Callable[[np.ndarray], Tensor]


@dataclass(frozen=True)
class ClassifierTraining:
    """Settings of one training.

    Args:
        epochs: passes over the data at most.
        anneal: passes at the end over which the learning rate falls to zero; they begin early once `fitted` is reached.
        fitted: share of (augmented) training images that are predicted right, at which the annealing begins.
        batch: images per step.
        learning_rate: of SGD with Nesterov momentum 0.9.
        weight_decay: of SGD.
        shift: largest random translation, as a fraction of the image side.
        flip: mirror half of the images.
        balance: 0 weighs every sample alike, 1 every class alike; in between, a class counts as size^(1 - balance).
        seed: decides initial weights, order and augmentation.
    """

    epochs: int = 12
    anneal: int = 4
    fitted: float = 0.995
    batch: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    shift: float = 1 / 16
    flip: bool = False
    balance: float = 0.5
    seed: int = 0


def train_classifier(
    read: ReadPixels,
    rows: np.ndarray,
    labels: np.ndarray,
    classes: int,
    settings: ClassifierTraining,
    checkpoint: Path,
    on_epoch: Callable[[int, float], None] = lambda epoch, accuracy: None,
    device: torch.device | None = None,
    initial: SmallResNet | None = None,
) -> SmallResNet:
    """Train a classifier; resumes after the last finished epoch if `checkpoint` exists, and removes it at the end.

    Args:
        read: maps rows (n,) to uint8 images (n, 3, h, w).
        rows: which rows to train on, int64.
        labels: their labels, int64, in 0..classes-1.
        classes: number of labels.
        settings: see `ClassifierTraining`.
        checkpoint: file for the state between epochs.
        on_epoch: called with the number of epochs done and the training accuracy.
        device: where to train; the CPU by default.
        initial: whose weights to start from, rather than random ones.

    Returns:
        The classifier in evaluation mode.
    """
    device = device or torch.device("cpu")
    dtype = torch.float32 if fast_dtype(device) == torch.float32 else torch.bfloat16
    torch.manual_seed(settings.seed)
    net = SmallResNet(classes).to(device, memory_format=torch.channels_last)
    if initial is not None:
        net.load_state_dict(initial.state_dict())
    velocity = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    epoch, annealing_from = 0, settings.epochs - settings.anneal
    if checkpoint.exists():
        epoch, annealing_from = _load(checkpoint, net, velocity)
    optimizer = torch.optim.SGD(
        net.parameters(), settings.learning_rate, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay
    )
    for name, parameter in net.named_parameters():
        optimizer.state[parameter]["momentum_buffer"] = velocity[name]
    counts = np.bincount(labels, minlength=classes).clip(1)
    class_weight = torch.from_numpy((counts.mean() / counts) ** settings.balance).float().to(device)
    steps = -(-len(rows) // settings.batch)
    net.train()
    while epoch < annealing_from + settings.anneal:
        rng = generator(settings.seed, "epoch", epoch)
        order = rng.permutation(len(rows))
        right = 0
        for step in range(steps):
            chosen = order[step * settings.batch : (step + 1) * settings.batch]
            if len(chosen) < 2:
                continue
            x = augment(read(rows[chosen]), settings, rng).to(device).float() / 255
            y = torch.from_numpy(labels[chosen]).to(device)
            progress = epoch + step / steps
            warmup = (progress * steps + 1) / (steps + 1)
            rate = min(1.0, warmup, (annealing_from + settings.anneal - progress) / settings.anneal)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * rate
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits, _ = net(x)
            loss = F.cross_entropy(logits, y, class_weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            right += int((logits.argmax(1) == y).sum())
        epoch += 1
        if right >= settings.fitted * len(rows):
            annealing_from = min(annealing_from, epoch)
        on_epoch(epoch, right / len(rows))
        _save(checkpoint, net, velocity, epoch, annealing_from)
    checkpoint.unlink(missing_ok=True)
    return net.eval()


def augment(images: Tensor, settings: ClassifierTraining, rng: np.random.Generator) -> Tensor:
    """Shift every image by up to `settings.shift` of its side, and mirror half of them if `settings.flip`."""
    number, _, height, width = images.shape
    reach = max(1, round(settings.shift * min(height, width)))
    padded = F.pad(images.float(), (reach,) * 4, mode="replicate").to(images.dtype)
    offsets = rng.integers(0, 2 * reach + 1, (number, 2)).tolist()
    shifted = torch.stack([im[:, i : i + height, j : j + width] for im, (i, j) in zip(padded, offsets, strict=True)])
    if settings.flip:
        mirrored = torch.from_numpy(rng.random(number) < 0.5)
        shifted[mirrored] = shifted[mirrored].flip(-1)
    return shifted


def _save(path: Path, net: SmallResNet, velocity: dict[str, Tensor], epoch: int, annealing_from: int) -> None:
    tensors = {f"net.{name}": t for name, t in net.state_dict().items()}
    tensors |= {f"velocity.{name}": t for name, t in velocity.items()}
    tensors = {name: t.cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, partial, {"epoch": str(epoch), "annealing_from": str(annealing_from)})
    os.replace(partial, path)


def _load(path: Path, net: SmallResNet, velocity: dict[str, Tensor]) -> tuple[int, int]:
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        net.load_state_dict({n.removeprefix("net."): file.get_tensor(n) for n in file.keys() if n.startswith("net.")})
        for name, tensor in velocity.items():
            tensor.copy_(file.get_tensor(f"velocity.{name}"))
    return int(metadata["epoch"]), int(metadata["annealing_from"])
