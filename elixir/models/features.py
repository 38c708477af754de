"""Features: where classifiers start, those of any network, and the perceptual distance of images in them."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elixir.models.classifier import SmallResNet, fused, load_small_classifier
from elixir.models.weights import SHIPPED

FEATURES = SHIPPED / "features.safetensors"
"""The shipped classifier: where the classifiers of a run start, and what is behind the perceptual distance."""
LEAST_NORM = 1e-6
"""Added to the squared length of a feature vector before it is divided by its length."""

log = logging.getLogger(__name__)


def load_backbone(name: str) -> SmallResNet | None:
    """The network whose weights a training starts from; None for random ones.

    Args:
        name: "features" for the shipped one, "none", or a file that `elixir train classifier` has written.

    Raises:
        ElixirError: there is no such file, or it is no classifier of elixir's.
    """
    return None if name == "none" else load_small_classifier(FEATURES if name == "features" else Path(name))


def as_logits(output: Any) -> Tensor:
    """Logits (n, k) out of what a network returns: a tensor, a tuple starting with it, or an object with `logits`."""
    output = getattr(output, "logits", output)
    return (output[0] if isinstance(output, tuple | list) else output).flatten(1)


def pooled(features: Tensor, *, channels_first: bool) -> Tensor:
    """Average (n, d, h, w), or (n, ..., d) where channels come last, to (n, d)."""
    if features.ndim == 2:
        return features
    return features.flatten(2).mean(2) if channels_first else features.flatten(1, -2).mean(1)


def warn_of_missing_head(what: str) -> None:
    """Say that a network's logits stand in for its features."""
    log.warning("no final linear layer was found in %s: its logits are used as features, which see less", what)


class WithFeatures(nn.Module):
    """A network that also returns the input of the last linear or 1x1 layer with as many outputs as there are logits.

    The layer is found by running `net`, in evaluation mode, on `probe` once.
    """

    def __init__(self, net: nn.Module, probe: Tensor) -> None:
        super().__init__()
        self.net = net
        self._read: Tensor | None = None
        self._head = self._find_head(probe)
        if self._head is None:
            warn_of_missing_head(type(net).__name__)
        else:
            self._head.register_forward_pre_hook(self._remember)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, k) and features (n, d)."""
        logits = as_logits(self.net(x))
        if self._read is None:
            return logits, logits
        features, self._read = self._read, None
        return logits, pooled(features, channels_first=isinstance(self._head, nn.Conv2d))

    def _remember(self, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._read = args[0]

    @torch.no_grad()
    def _find_head(self, probe: Tensor) -> nn.Module | None:
        called: list[nn.Module] = []
        hooks = [
            module.register_forward_pre_hook(lambda module, _: called.append(module))
            for module in self.net.modules()
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))
        ]
        classes = as_logits(self.net(probe)).shape[1]
        for hook in hooks:
            hook.remove()
        heads = [module for module in called if len(module.get_parameter("weight")) == classes]
        return heads[-1] if heads else None


class PerceptualDistance(nn.Module):
    """Squared distance of channel-normalised feature maps, averaged over places and summed over layers.

    This is LPIPS (Zhang et al. 2018, eq. 1) without learned channel weights, on all blocks of a copy of `classifier`: a
    value of the first depends on 6x6 pixels, of the last on the whole of a small image.
    """

    def __init__(self, classifier: SmallResNet) -> None:
        super().__init__()
        self.classifier = fused(classifier).requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distances (n,), float32, of images (n, 3, h, w) of any size, in [0,1] but not necessarily clipped."""
        maps = zip(self.classifier.feature_maps(x), self.classifier.feature_maps(y), strict=True)
        distances = [(_normalised(a) - _normalised(b)).square().sum(1).mean((1, 2)) for a, b in maps]
        return torch.stack(distances).sum(0)


def load_perceptual(path: Path | None, device: torch.device) -> PerceptualDistance:
    """The distance in features of the shipped classifier, or of one that `elixir train classifier` has written."""
    return PerceptualDistance(load_small_classifier(path or FEATURES)).to(device)


def _normalised(maps: Tensor) -> Tensor:
    maps = maps.float()
    return maps * (maps.square().sum(1, keepdim=True) + LEAST_NORM).rsqrt()
