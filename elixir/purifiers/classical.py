"""Purifiers without a network: none, JPEG compression (Dziugaite et al. 2016), the median filter (Xu et al. 2018)."""

from collections.abc import Callable
from functools import partial
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from elixir.errors import ElixirError
from elixir.purifiers.base import Denoiser, Purifier

QUALITY = 75  # of the JPEG compression


class Classical(Denoiser):
    """A purifier without a network."""

    nfe = 0
    net = None
    without_noise = True


class Identity(Classical):
    """Leaves the noise in: what randomized smoothing is without a purifier."""

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        return noisy.clone()


class Filter(Classical):
    """Adds no noise, whatever `sigma` is."""

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        return self.denoise(x, sigma)


class Jpeg(Filter):
    """Compresses and decompresses 8-bit images with halved colour resolution; gives no gradient."""

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        eight_bit = (noisy.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        done = np.empty_like(eight_bit)
        for index, image in enumerate(eight_bit):
            buffer = BytesIO()
            Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(buffer, "JPEG", quality=QUALITY)
            done[index] = np.asarray(Image.open(buffer)).transpose(2, 0, 1)
        return torch.from_numpy(done).to(noisy.device).float() / 255


class Median(Filter):
    """Every value becomes the median of its 3x3 neighbourhood in its channel, the border repeated."""

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        padded = F.pad(noisy, (1, 1, 1, 1), mode="replicate")
        return padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4).median(4).values


def _load(kind: Callable[[], Purifier], name: str, model: str | None, device: torch.device) -> Purifier:  # noqa: ARG001
    """The purifier, which works where the images are (JPEG on the CPU)."""
    if model is not None:
        raise ElixirError(f"the purifier {name!r} has no weights; leave out {model!r}")
    return kind()


load_none = partial(_load, Identity, "none")
load_jpeg = partial(_load, Jpeg, "jpeg")
load_median = partial(_load, Median, "median")
