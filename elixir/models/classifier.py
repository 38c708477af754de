"""The classifier interface, a small residual classifier for images of any size, and classification in batches."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from elixir.errors import ElixirError
from elixir.models.device import fast_dtype, training_dtype
from elixir.models.schedules import DATA_MEAN, DATA_STD
from elixir.models.weights import save_network

KIND = "elixir.classifier"
WIDTHS = (96, 192)
"""Of the networks of a run, see `SmallResNet`."""
CPU_BATCH = 64
CUDA_BATCH = 512
"""Images that a network gets at once, whatever their number."""


class Classifier(nn.Module):
    """A network that gives logits and the features that its last linear layer reads."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, k) and pooled last-stage features (n, d), float32, of images float32 (n, 3, h, w) in [0,1]."""
        raise NotImplementedError


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    """x + two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width), conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class TrainableClassifier(Classifier):
    """A classifier that is trained, kept in a file (see `save_classifier`) and started from.

    Attributes:
        body: all that a training may start from.
        head: the last layer, which reads the features.
    """

    body: nn.Module
    head: nn.Linear

    def with_classes(self, classes: int) -> Self:
        """A copy for so many classes, with a random head."""
        copy = deepcopy(self)
        copy.head = nn.Linear(self.head.in_features, classes)
        return copy

    def fused(self) -> Self:
        """In evaluation mode, the same function in less time: a copy, or itself if there is nothing to gain."""
        return self.eval()

    def record(self) -> dict[str, Any]:
        """What a file of the weights must tell besides, as plain values."""
        return {}

    def write_beside(self, folder: Path) -> None:
        """Write what a file of the weights in this folder cannot be read without."""


class SmallResNet(TrainableClassifier):
    """A residual block at each scale, on 2x2 pixels folded into channels (after Page's ResNet-9).

    Args:
        widths: channels at half, quarter, ... resolution; the last is the feature dimension.
    """

    body: nn.Sequential

    def __init__(self, classes: int, channels: int = 3, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        blocks: list[nn.Module] = [conv(4 * channels, widths[0]), Residual(widths[0])]
        for fine, coarse in pairwise(widths):
            blocks += conv(fine, coarse, stride=2), Residual(coarse)
        self.body = nn.Sequential(*blocks)  # pyright: ignore[reportIncompatibleVariableOverride]
        self.head = nn.Linear(widths[-1], classes)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The output of every block of the body, two at each resolution, for (n, c, h, w)."""
        height, width = x.shape[-2:]
        x = F.pad((x - DATA_MEAN) / DATA_STD, (0, width % 2, 0, height % 2))
        x = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        maps = []
        for block in self.body:
            x = block(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        last = self.feature_maps(x)[-1]
        features = last.mean((2, 3)) + last.amax((2, 3))
        return self.head(features).float(), features.float()

    def fused(self) -> Self:
        """A copy whose batch normalisation is folded into the convolutions."""
        copy = deepcopy(self).eval()
        for block in copy.modules():
            if isinstance(block, nn.Sequential) and len(block) > 1 and isinstance(block[1], nn.BatchNorm2d):
                block[0] = fuse_conv_bn_eval(block[0], block[1])  # type: ignore[arg-type]
                block[1] = nn.Identity()
        return copy.to(memory_format=torch.channels_last)


def save_classifier(
    net: TrainableClassifier, path: Path, labels: list[str], dtype: torch.dtype = torch.float32
) -> None:
    """Write a classifier with its label names; see `save_network`. `elixir.models.trained.load_trained` reads it."""
    net.write_beside(path.parent)
    save_network(net, path, KIND, {"labels": labels, **net.record()}, dtype)


@torch.inference_mode()
def classify(model: Classifier, images: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Log-probabilities (n, k) and features (n, d), float32 on the CPU, in network batches of one fixed size.

    Args:
        model: in evaluation mode, on `device`.
        images: uint8 (n, 3, h, w), or float32 in [0,1].
    """
    outputs = [
        (logits.log_softmax(1).cpu(), features.cpu()) for logits, features in _in_fixed_batches(model, images, device)
    ]
    logp, features = zip(*outputs, strict=True)
    return torch.cat(logp), torch.cat(features)


@torch.inference_mode()
def predict(model: Classifier, images: Tensor, device: torch.device) -> Tensor:
    """The most likely labels, int64 (n,) on `device`; arguments as for `classify`."""
    return torch.cat([logits.argmax(1) for logits, _ in _in_fixed_batches(model, images, device)])


def label_gradient(model: Classifier, images: Tensor, labels: Tensor, device: torch.device) -> Tensor:
    """Gradient of each image's logit of its label by the image, float32 (n, 3, h, w) on the CPU.

    Args:
        model: in evaluation mode, on `device`.
        images: uint8 (n, 3, h, w), or float32 in [0,1].
        labels: int64 (n,).

    Raises: ElixirError: the model cannot be differentiated.
    """
    gradients = []
    for x, count in _fixed_batches(images, device):
        x = x.clone().requires_grad_(True)
        with _short(training_dtype(device), device), torch.enable_grad():
            logits, _ = model(x)
            part = labels[len(gradients) * len(x) :][:count].to(device)
            wanted = logits[:count].float().gather(1, part[:, None]).sum()
        if not wanted.requires_grad:
            raise ElixirError("the reference has no gradient by its images; give a model that autograd goes through")
        gradients.append(torch.autograd.grad(wanted, x)[0][:count].cpu())
    return torch.cat(gradients)


def _in_fixed_batches(model: Classifier, images: Tensor, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and features of batch after batch, float32 on `device`."""
    for x, count in _fixed_batches(images, device):
        with _short(fast_dtype(device), device):
            logits, features = model(x)
        yield logits[:count].float(), features[:count].float()


def _fixed_batches(images: Tensor, device: torch.device) -> Iterator[tuple[Tensor, int]]:
    """The images in batches of one size, float32 on `device`, the last one filled up; and how many of each count."""
    size = CPU_BATCH if device.type == "cpu" else CUDA_BATCH
    for part in images.split(size):
        x = part.to(device)
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        yield F.pad(x, (0, 0) * (x.ndim - 1) + (0, size - len(part))), len(part)


def _short(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """Computes in a short format, unless that is none."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
