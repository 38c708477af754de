"""The perceptual distance of images, in the features of a small classifier."""

from pathlib import Path

import torch
from torch import Tensor, nn

from elixir.errors import ElixirError
from elixir.models.backbone import FEATURES
from elixir.models.classifier import SmallResNet
from elixir.models.trained import load_trained

LEAST_NORM = 1e-6
"""Added to the squared length of a feature vector before it is divided by its length."""


class PerceptualDistance(nn.Module):
    """Squared distance of channel-normalised feature maps, averaged over places and summed over layers.

    This is LPIPS (Zhang et al. 2018, eq. 1) without learned channel weights, on all blocks of a copy of `classifier`: a
    value of the first depends on 6x6 pixels, of the last on the whole of a small image.
    """

    def __init__(self, classifier: SmallResNet) -> None:
        super().__init__()
        self.classifier = classifier.fused().requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distances (n,), float32, of images (n, 3, h, w) of any size, in [0,1] but not necessarily clipped."""
        maps = zip(self.classifier.feature_maps(x), self.classifier.feature_maps(y), strict=True)
        distances = [(_normalised(a) - _normalised(b)).square().sum(1).mean((1, 2)) for a, b in maps]
        return torch.stack(distances).sum(0)


def load_perceptual(path: Path | None, device: torch.device) -> PerceptualDistance:
    """The distance in features of the shipped classifier, or of one that `elixir train classifier` has written.

    Raises: ElixirError: there is no such file, or it is no small classifier.
    """
    classifier = load_trained(path or FEATURES)
    if not isinstance(classifier, SmallResNet):
        raise ElixirError(f"{str(path)!r} has another backbone: the distance needs one of `elixir train classifier`")
    return PerceptualDistance(classifier).to(device)


def _normalised(maps: Tensor) -> Tensor:
    maps = maps.float()
    return maps * (maps.square().sum(1, keepdim=True) + LEAST_NORM).rsqrt()
