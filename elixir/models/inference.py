"""Running a classifier so that a sample's result does not depend on the batch it comes in."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from elixir.models.base import Classifier
from elixir.models.precision import fast_dtype

CPU_BATCH = 64
CUDA_BATCH = 512


@torch.inference_mode()
def classify(model: Classifier, images: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Log-probabilities and features, in network batches of one fixed size whatever the number of images.

    Args:
        model: in evaluation mode, on `device`.
        images: uint8 (n, 3, h, w), or float32 in [0,1].
        device: where the model is.

    Returns:
        Log-probabilities (n, k) and features (n, d), float32 on the CPU.
    """
    outputs = [
        (logits.log_softmax(1).cpu(), features.cpu()) for logits, features in _in_fixed_batches(model, images, device)
    ]
    logp, features = zip(*outputs, strict=True)
    return torch.cat(logp), torch.cat(features)


@torch.inference_mode()
def predict(model: Classifier, images: Tensor, device: torch.device) -> Tensor:
    """The most likely labels; arguments as for `classify`.

    Returns:
        int64 (n,) on `device`.
    """
    return torch.cat([logits.argmax(1) for logits, _ in _in_fixed_batches(model, images, device)])


def _in_fixed_batches(model: Classifier, images: Tensor, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and features of one part of the images after the other, float32 on `device`."""
    size = CPU_BATCH if device.type == "cpu" else CUDA_BATCH
    dtype = fast_dtype(device)
    for part in images.split(size):
        x = part.to(device)
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        x = F.pad(x, (0, 0) * (x.ndim - 1) + (0, size - len(part)))
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits, features = model(x)
        yield logits[: len(part)].float(), features[: len(part)].float()
