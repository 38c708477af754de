"""JPEG compression, the simplest purifier there is (Dziugaite et al. 2016)."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from elixir.errors import ElixirError
from elixir.purifiers.base import Purifier

QUALITY = 75


class Jpeg:
    """Compresses and decompresses at quality 75 with halved colour resolution; no network call, no gradient."""

    nfe = 0
    without_noise = True

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        """See `Purifier.purify`; without noise, at any `sigma`."""
        return self.denoise(x, sigma)

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        """See `Purifier.denoise`; of the images clipped and rounded to 8 bits."""
        eight_bit = (noisy.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        done = np.empty_like(eight_bit)
        for index, image in enumerate(eight_bit):
            buffer = BytesIO()
            Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(buffer, "JPEG", quality=QUALITY)
            done[index] = np.asarray(Image.open(buffer)).transpose(2, 0, 1)
        return torch.from_numpy(done).to(noisy.device).float() / 255


def load(model: str | None, device: torch.device) -> Purifier:  # noqa: ARG001 - all have it
    """JPEG compression.

    Args:
        model: None.
        device: any; the compression itself is done by the CPU.

    Raises:
        ElixirError: there is a model.
    """
    if model is not None:
        raise ElixirError(f"the purifier 'jpeg' has no weights; leave out {model!r}")
    return Jpeg()
