"""The networks that ship with the package, or are trained with it, as purifiers."""

from pathlib import Path

import torch
from torch import Tensor, nn

from elixir.models.denoiser import CONSISTENCY, EPSILON, PRIOR, load_denoiser
from elixir.models.device import fast_dtype
from elixir.models.weights import SHIPPED
from elixir.purifiers.base import Denoiser, Purifier, batch_size, in_fixed_batches, in_tiles
from elixir.purifiers.diffusers import load_consistency_pipeline


class NetworkPurifier(Denoiser):
    """A network as a one-step denoiser; images with a longer side than a tile are done in tiles.

    `net` maps noisy images (n, 3, h, w) and noise levels (n,) to clean images, as a `DenoiserNet`.
    """

    nfe = 1
    tile = 1024
    margin = 64  # wider than the shipped network's receptive field, so tiles fit without a seam

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        self._device = device
        self._dtype = fast_dtype(device)
        self.net = net.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
        for layer in self.net.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                layer.to(self._dtype)  # once, where autocast would do it in every call

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        if max(noisy.shape[-2:]) > self.tile:
            return in_tiles(lambda part: self._denoise(part, sigma), noisy, self.tile, self.margin)
        return self._denoise(noisy, sigma)

    def _denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        size = batch_size(noisy.shape[-2], noisy.shape[-1], self._device)
        level = torch.full((size,), sigma, device=self._device)
        return in_fixed_batches(lambda part: self._call(part.to(self._device), level), noisy, size)

    def _call(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            return self.net(noisy, sigma)


def load_prior(model: str | None, device: torch.device) -> Purifier:
    """The embedded prior, a one-step denoiser for images of any size, or a file written by `elixir train prior`."""
    path = SHIPPED / "prior.safetensors" if model is None else Path(model)
    return NetworkPurifier(load_denoiser(path, PRIOR), device)


def load_consistency(model: str | None, device: torch.device) -> Purifier:
    """The consistency model: one call leads to one likely clean image rather than to the mean of all.

    `model` is a file written by `elixir train consistency`, or a folder or hub name of a ConsistencyModelPipeline or
    UNet of diffusers.
    """
    path = SHIPPED / "consistency.safetensors" if model is None else Path(model)
    if model is None or path.is_file() or path.suffix == ".safetensors":
        return NetworkPurifier(load_denoiser(path, CONSISTENCY, epsilon=EPSILON), device)
    return load_consistency_pipeline(model, device)
