"""Slow and fast frequencies of images, how a set of images varies in them, and their fine detail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import dctn
from torch import Tensor
from torch.nn import functional as F

from elixir.data.pixels import blocks
from elixir.detection.probe import Images
from elixir.detection.thresholds import Thresholds

YCBCR = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
BINOMIAL = torch.tensor([1.0, 2, 1]) / 4


@dataclass(frozen=True)
class Band:
    """Some of the frequencies (DCT) of brightness and colour.

    Args:
        luma: lowest frequencies of brightness along each axis that are slow.
        chroma: likewise of colour.
        slow: whether the band is the slow frequencies, of which natural images vary in many together; else all others,
            each by itself.
        ridge: added to variances, in squared units of [0,1] pixels.
    """

    luma: int
    chroma: int
    slow: bool
    ridge: float

    def spectrum(self, images: Tensor) -> np.ndarray:
        """Coefficients of uint8 images (n, 3, s, s): float64 (n, d), in units of [0,1] pixels."""
        ycbcr = np.einsum("cd,ndij->ncij", YCBCR, images.numpy() / 255)
        coefficients = np.asarray(dctn(ycbcr, axes=(2, 3), norm="ortho")) if len(ycbcr) else ycbcr
        slow = np.zeros(coefficients.shape[1:], bool)
        slow[0, : self.luma, : self.luma] = slow[1:, : self.chroma, : self.chroma] = True
        return coefficients[:, slow == self.slow]


def bands(thresholds: Thresholds) -> tuple[Band, Band]:
    """The slow and the fast frequencies."""
    luma, chroma = thresholds.luma_frequencies, thresholds.chroma_frequencies
    return Band(luma, chroma, True, thresholds.slow_ridge), Band(luma, chroma, False, thresholds.fast_ridge)


@dataclass(frozen=True)
class Moments:
    """Count, sum and products of spectra, to which others can be added and from which they can be taken away.

    Attributes:
        count: of spectra.
        total: their sum, float64 (d,).
        products: sum of their outer products, float64 (d, d), for slow frequencies; of their squares, (d,), for fast.
    """

    count: int
    total: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, band: Band, images: Images, indices: np.ndarray) -> Moments:
        """Those of some images, a few in memory at a time."""
        found = cls._of(band, band.spectrum(images.read(indices[:0])))
        for block in blocks(indices, images.shape):
            found += cls._of(band, band.spectrum(images.read(block)))
        return found

    @classmethod
    def _of(cls, band: Band, spectra: np.ndarray) -> Moments:
        products = spectra.T @ spectra if band.slow else np.square(spectra).sum(0)
        return cls(len(spectra), spectra.sum(0), products)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.products + other.products)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.count - other.count, self.total - other.total, self.products - other.products)

    @property
    def mean(self) -> np.ndarray:
        """Float64 (d,)."""
        return self.total / self.count

    @property
    def covariance(self) -> np.ndarray:
        """Float64, of the shape of `products`."""
        product = np.outer(self.mean, self.mean) if self.products.ndim == 2 else np.square(self.mean)
        return self.products / self.count - product


def high_pass(images: Tensor, gain: float) -> Tensor:
    """128 + gain (x - binomial 3x3 filter of x): the fine detail, where faint triggers lie and little of the content.

    Args:
        images: uint8 (n, c, h, w), h and w at least 2.
        gain: of the detail.

    Returns:
        uint8, same shape.
    """
    x = images.float()
    channels = x.shape[1]
    kernel = torch.outer(BINOMIAL, BINOMIAL).expand(channels, 1, 3, 3)
    smooth = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=channels)
    return (128 + gain * (x - smooth)).round().clamp(0, 255).to(torch.uint8)
