"""Slow and fast waves of images, and how a set of images varies in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import dctn
from torch import Tensor

from elixir.data.pixels import PixelStore, blocks

LUMA, CHROMA = 16, 8  # lowest frequencies along each axis
YCBCR = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])


@dataclass(frozen=True)
class Band:
    """Some of the frequencies (DCT) of brightness and colour.

    Args:
        lowest: the slow waves, 384 for images of 16x16 or more; all others otherwise.
        together: whether they are taken together, as natural images vary in them together; each for itself otherwise.
        ridge: added to variances, in squared units of [0,1] pixels.
    """

    lowest: bool
    together: bool
    ridge: float

    def spectrum(self, images: Tensor) -> np.ndarray:
        """The waves of uint8 (n, 3, s, s): float64 (n, d), in units of [0,1] pixels."""
        ycbcr = np.einsum("cd,ndij->ncij", YCBCR, images.numpy() / 255)
        waves = np.asarray(dctn(ycbcr, axes=(2, 3), norm="ortho")) if len(ycbcr) else ycbcr
        slow = np.zeros(waves.shape[1:], bool)
        slow[0, :LUMA, :LUMA] = slow[1:, :CHROMA, :CHROMA] = True
        return waves[:, slow == self.lowest]


SLOW = Band(lowest=True, together=True, ridge=1e-4)
FAST = Band(lowest=False, together=False, ridge=1e-6)
BANDS = (SLOW, FAST)


@dataclass(frozen=True)
class Moments:
    """Count, sum and products of spectra, to which others can be added and from which they can be taken away.

    Attributes:
        count: of spectra.
        total: their sum, float64 (d,).
        products: sum of their outer products, float64 (d, d); of their squares, (d,), where frequencies are taken each
            for itself.
    """

    count: int
    total: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, band: Band, store: PixelStore, records: np.ndarray) -> Moments:
        """Those of some records of a store, a few in memory at a time."""
        found = cls._of(band, band.spectrum(store.read(records[:0])))
        for block in blocks(records, store.shape):
            found += cls._of(band, band.spectrum(store.read(block)))
        return found

    @classmethod
    def _of(cls, band: Band, spectra: np.ndarray) -> Moments:
        products = spectra.T @ spectra if band.together else np.square(spectra).sum(0)
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
