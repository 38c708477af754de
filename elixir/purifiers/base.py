"""The one interface behind which diffusion, consistency and masked models are interchangeable."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Purifier(Protocol):
    """Removes what does not survive noise.

    The result for a sample does not depend on the batch that it comes in: same bits in a batch of 1, 16 or 256.

    Attributes:
        nfe: number of function evaluations, the network calls that one `purify` or `denoise` costs for each image.
        without_noise: true for a purifier that also works at sigma 0; others need not have it.
    """

    nfe: int

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        """Noise the images to level `sigma` and denoise them.

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
