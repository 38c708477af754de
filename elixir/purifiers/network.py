"""A network that ships with the package, or is trained with it, as a purifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elixir.models.device import fast_dtype
from elixir.purifiers.batching import batch_size, in_fixed_batches, in_tiles


class NetworkPurifier:
    """A network as a purifier: one call a draw; images with a longer side than a tile are done in tiles.

    Args:
        net: maps noisy images (n, 3, h, w) and noise levels (n,) to clean images, as a `DenoiserNet`.
        device: where to run it.
    """

    nfe = 1
    tile = 1024
    margin = 64  # wider than the shipped network's receptive field, so tiles fit without a seam

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        self._device = device
        self._dtype = fast_dtype(device)
        self._net = net.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
        for layer in self._net.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                layer.to(self._dtype)  # once, where autocast would do it in every call

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        """See `Purifier.purify`."""
        return self.denoise(x + sigma * noise, sigma).clamp_(0, 1)

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        """See `Purifier.denoise`."""
        if max(noisy.shape[-2:]) > self.tile:
            return in_tiles(lambda part: self._denoise(part, sigma), noisy, self.tile, self.margin)
        return self._denoise(noisy, sigma)

    def _denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        size = batch_size(noisy.shape[-2], noisy.shape[-1], self._device)
        level = torch.full((size,), sigma, device=self._device)
        return in_fixed_batches(lambda part: self._call(part.to(self._device), level), noisy, size)

    def _call(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            return self._net(noisy, sigma)
