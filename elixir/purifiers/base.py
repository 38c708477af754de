"""The one interface behind which diffusion, consistency, masked and classical purifiers are interchangeable.

A purifier is registered by a loader in the group `elixir.purifiers`, `load(model: str | None, device: torch.device)`.
`model` is a file, a folder or a hub name, None for what ships with the package. Loaders raise ElixirError if it is not
found, damaged, a pickle, or of another kind.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Purifier(Protocol):
    """Removes from images what does not survive noise.

    The result for an image does not depend on its batch: the same bits in a batch of 1, 16 or 256.

    Attributes:
        nfe: number of function evaluations, the network calls that one `purify` or `denoise` costs for each image.
        net: optional; the network, None if there is none, for `elixir.models.flops.gflop_per_image`.
        without_noise: optional; true for a purifier that also works at sigma 0.
    """

    nfe: int

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        """Add noise of level `sigma` to the images and denoise them.

        Args:
            x: float32 (n, 3, h, w) in [0,1], any h and w.
            sigma: deviation of the noise in [0,1] pixel units, greater than 0.
            noise: standard normal, shape of `x`.

        Returns:
            Purified images, float32 (n, 3, h, w) in [0,1].
        """
        ...

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        """Estimate the clean images behind noisy ones.

        Args:
            noisy: float32 (n, 3, h, w), images in [0,1] plus Gaussian noise of deviation `sigma`, not clipped.
            sigma: in [0,1] pixel units, greater than 0.

        Returns:
            Estimate of E[clean | noisy], float32 (n, 3, h, w), not clipped.
        """
        ...


class Denoiser:
    """A purifier defined by its `denoise`: `purify` adds the noise before it and clamps to [0,1] after it."""

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        """See `Purifier.purify`."""
        return self.denoise(x + sigma * noise, sigma).clamp_(0, 1)

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        """See `Purifier.denoise`."""
        raise NotImplementedError
