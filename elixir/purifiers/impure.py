"""IMPure as a purifier: every patch is rebuilt from its neighbours and from what noise leaves of itself.

`sigma` is the noise that is added to the whole image before it is rebuilt; the network was trained with it. At sigma 0
the image is rebuilt as it is, which is the method of the paper (arXiv 2311.15339). The noise of "noise" mode comes on
top and is the same for every image, so that a result depends on image, sigma and noise alone.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from elixir.models.impure import ImpureNet, load_impure
from elixir.models.weights import SHIPPED
from elixir.purifiers.base import Purifier
from elixir.purifiers.network import NetworkPurifier

PIXEL_TIME, FEATURE_TIME = 140, 200
"""Of "noise" mode, of 1000; the paper's 400 and 600 are for patches of 16x16, which hold 16 times as much as 4x4."""
NOISE_SEED = 0  # of the noise of "noise" mode


class ImpurePurifier(NetworkPurifier):
    """See `NetworkPurifier`; sigma may be 0. A tile is as large as the largest images of the training."""

    tile = 64
    margin = 16
    without_noise = True


class NoiseMode(nn.Module):
    """An `ImpureNet` in "noise" mode, with the same noise for every image and in every call."""

    def __init__(self, net: ImpureNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        shape = torch.Size((1, *noisy.shape[1:]))
        pixel_time, feature_time = torch.tensor([[PIXEL_TIME], [FEATURE_TIME]], device=noisy.device)
        keep = self.net.attenuation(shape, pixel_time, feature_time, torch.Generator().manual_seed(NOISE_SEED))
        return self.net(noisy, sigma, keep)


def load(model: str | None, device: torch.device) -> Purifier:
    """IMPure in "noise" mode, or a file written by `elixir train impure`."""
    return ImpurePurifier(NoiseMode(_network(model)), device)


def load_masked(model: str | None, device: torch.device) -> Purifier:
    """IMPure in "mask" mode; see `load`."""
    return ImpurePurifier(_network(model), device)


def _network(model: str | None) -> ImpureNet:
    return load_impure(SHIPPED / "impure.safetensors" if model is None else Path(model))
