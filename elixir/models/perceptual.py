"""Perceptual distance: how far apart two images are for a classifier's features."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from elixir.models import weights
from elixir.models.classifier import SmallResNet, fused, load_small_classifier

SHIPPED = weights.SHIPPED / "features.safetensors"


class PerceptualDistance(nn.Module):
    """Squared distance of channel-normalised feature maps, averaged over places and summed over layers.

    This is LPIPS (Zhang et al. 2018, eq. 1) without learned channel weights, on all blocks of a `SmallResNet`: the
    first sees 6x6 pixels, the last the whole of a small image.

    Args:
        classifier: whose features to use; a copy is made, with its batch normalisation folded and its weights fixed.
    """

    def __init__(self, classifier: SmallResNet) -> None:
        super().__init__()
        self.classifier = fused(classifier).requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distance of each image in `x` to the one in `y`.

        Args:
            x: float (n, 3, h, w), images in [0,1], not necessarily clipped; any h and w.
            y: likewise.

        Returns:
            float32 (n,), at least 0.
        """
        maps = zip(self.classifier.feature_maps(x), self.classifier.feature_maps(y), strict=True)
        distances = [(_normalised(a) - _normalised(b)).square().sum(1).mean((1, 2)) for a, b in maps]
        return torch.stack(distances).sum(0)


def load_perceptual(path: Path | None, device: torch.device) -> PerceptualDistance:
    """Load the distance.

    Args:
        path: a file written by `elixir train-classifier`, None for the shipped one.
        device: where to run it.

    Raises:
        ElixirError: the file is missing, damaged, a pickle, or holds something else.
    """
    return PerceptualDistance(load_small_classifier(path or SHIPPED)).to(device)


def _normalised(maps: Tensor) -> Tensor:
    maps = maps.float()
    return maps * (maps.square().sum(1, keepdim=True) + 1e-6).rsqrt()
