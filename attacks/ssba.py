"""SSBA: a bit string hidden in the image (Li et al., Invisible backdoor attack, 2021, arXiv:2012.03816)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elixir.attacks.base import Ids, Images, Levels
from elixir.attacks.trained import Painter, TrainedAttack, TrainingData, coloured_as, restored, shifted, tensors
from elixir.models.classifier import Residual, conv
from elixir.randomness import generator
from elixir.settings import Range

NOISE = 8 / 255
"""Deviation of the noise through which the bits can be read: it is what keeps the residual from vanishing."""
PLANES = 4
CONTRAST = 16.0
SIMILARITY = 5.0  # weight of 1 - SSIM against the squared difference in units of the bound
DEMAND = 40.0
"""Both count exp(-40 e) where the bits' cross-entropy is e: the bits are learned first, then to be quiet."""


@dataclass(frozen=True, kw_only=True)
class SSBA(TrainedAttack):
    """Hides one secret string of bits in all images: an encoder network makes a faint residual from image and string.

    Encoder and a decoder, which reads the string back, are trained together, with random strings, so that the image
    stays as it was (squared difference and SSIM) and the bits can be read (cross-entropy) after noise and a shift.

    Args:
        bits: length of the string; which one it is follows from `seed`.
        bound: largest change of a pixel, in levels of 255.
    """

    name: ClassVar[str] = "ssba"

    bits: Annotated[int, Range(least=1, most=256)] = 20
    bound: Levels = 16

    def learn(self, data: TrainingData) -> dict[str, Tensor]:
        return tensors(self.codec(data)[0])

    def codec(self, data: TrainingData) -> tuple[Encoder, Decoder]:
        """Train the encoder and the decoder."""
        torch.manual_seed(self.seed)
        encoder, decoder = self._encoder(), Decoder(self.bits, self.size)

        def loss(images: Tensor, _: Tensor, rng: np.random.Generator) -> Tensor:
            strings = torch.from_numpy(rng.integers(0, 2, (len(images), self.bits))).float()
            change = encoder(images, strings)
            encoded = (images + change).clamp(0, 1)
            noise = torch.from_numpy(rng.standard_normal(images.shape, np.float32)) * NOISE
            read = decoder(shifted(encoded + noise, rng))
            errors = F.binary_cross_entropy_with_logits(read, strings)
            unlikeness = (change / encoder.bound).square().mean() + SIMILARITY * (1 - similarity(encoded, images))
            return errors + (-DEMAND * errors.detach()).exp() * unlikeness

        self.train(nn.ModuleList([encoder, decoder]), loss, data, "codec", batch=32)
        return encoder, decoder

    def triggered(self, images: Images, ids: Ids) -> Images:
        encoder = restored(self._encoder, self.learned())
        return self.added(images, ids, lambda x, _: encoder(x, self.secret()[None]))

    def secret(self) -> Tensor:
        """The string, float (bits,) of zeros and ones."""
        return torch.from_numpy(generator(self.seed, "secret").integers(0, 2, self.bits)).float()

    def _encoder(self) -> Encoder:
        return Encoder(self.bits, self.size, self.bound / 255)


class Encoder(nn.Module):
    """A residual in [-bound, bound] that hides a string, spread over planes that the network sees, in an image."""

    def __init__(self, bits: int, size: int, bound: float) -> None:
        super().__init__()
        self.bound = bound
        planes = nn.Unflatten(1, (PLANES, cells(size), -1))
        self.spread = nn.Sequential(nn.Linear(bits, PLANES * cells(size) ** 2), planes)
        self.painter = Painter(3 + PLANES, 3)

    def forward(self, images: Tensor, strings: Tensor) -> Tensor:
        """The residual of images (n, 3, size, size) in [0,1] for strings (n, bits) of zeros and ones."""
        planes = F.interpolate(self.spread(2 * strings - 1).float(), images.shape[-2:])
        return coloured_as(images, self.bound * self.painter(torch.cat([4 * (images - 0.5), planes], 1)).tanh())


class Decoder(nn.Module):
    """Reads a string in images (n, 3, size, size): (n, bits), above 0 for a 1. It looks at fine detail only."""

    def __init__(self, bits: int, size: int) -> None:
        super().__init__()
        body = [conv(3, 32, stride=2), conv(32, 64, stride=2), Residual(64), conv(64, 32)]
        self.body = nn.Sequential(*body, nn.Flatten(), nn.Linear(32 * cells(size) ** 2, bits))

    def forward(self, images: Tensor) -> Tensor:
        return self.body(CONTRAST * (images - F.avg_pool2d(images, 3, 1, 1, count_include_pad=False))).float()


def cells(size: int) -> int:
    """Cells of four pixels along a side."""
    return -(-size // 4)


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """Mean SSIM of images in [0,1] over windows of 8x8 pixels (Wang et al. 2004)."""
    mean_a, mean_b, aa, bb, ab = (F.avg_pool2d(x, 8, 4) for x in (a, b, a * a, b * b, a * b))
    means, products = mean_a * mean_b, mean_a**2 + mean_b**2
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * means + c1) * (2 * (ab - means) + c2) / ((products + c1) * (aa + bb - products + c2))).mean()
