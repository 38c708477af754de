"""What sets of images have in common in frequency: moments, and a split of one label's samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import dctn
from scipy.linalg import eigh
from scipy.special import expit
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from elixir.data.pixels import blocks
from elixir.detection.probe import Images
from elixir.detection.thresholds import Thresholds

YCBCR = torch.tensor([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
UNIFORM = 0.75  # share of the variance that lies between the two halves of a uniform distribution
EPSILON = 1e-9  # variance below which values are all the same


@dataclass(frozen=True)
class Band:
    """The slow frequencies (DCT), of which natural images vary in many together, or else all others, each by itself.

    Args:
        luma: lowest frequencies of brightness along each axis that are slow.
        chroma: likewise of colour.
        ridge: added to variances, in squared units of [0,1] pixels.
    """

    luma: int
    chroma: int
    slow: bool
    ridge: float

    def spectrum(self, images: Tensor) -> np.ndarray:
        """Coefficients of uint8 images (n, 3, s, s): float32 (n, d), in units of [0,1] pixels."""
        ycbcr = torch.einsum("cd,ndij->ncij", YCBCR, images.float() / 255)
        coefficients = np.asarray(dctn(ycbcr.numpy(), axes=(2, 3), norm="ortho"))
        slow = np.zeros(coefficients.shape[1:], bool)
        slow[0, : self.luma, : self.luma] = slow[1:, : self.chroma, : self.chroma] = True
        return coefficients[:, slow == self.slow]


def bands(thresholds: Thresholds) -> tuple[Band, Band]:
    """The slow and the fast frequencies."""
    luma, chroma = thresholds.luma_frequencies, thresholds.chroma_frequencies
    return Band(luma, chroma, True, thresholds.slow_ridge), Band(luma, chroma, False, thresholds.fast_ridge)


@dataclass(frozen=True)
class Moments:
    """Count of spectra, their sum (d,), and that of their outer products (d, d), if slow, or squares (d,), if fast."""

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
        total = spectra.sum(0, np.float64)
        if not band.slow:
            return cls(len(spectra), total, np.square(spectra).sum(0, np.float64))
        mean = total / max(1, len(spectra))
        centred = spectra - mean.astype(np.float32)  # brightness is large beside what it varies by
        return cls(len(spectra), total, (centred.T @ centred).astype(np.float64) + np.outer(total, mean))

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


@dataclass(frozen=True)
class Split:
    """Two groups of one label's samples.

    Attributes:
        posterior: of the group that lies farther from the other labels, float64 (n,).
        separation: 0 for one lump or an even spread, 1 for two points.
    """

    posterior: np.ndarray
    separation: float

    def of(self, indices: np.ndarray) -> Split:
        """The same two groups, of some samples."""
        return Split(self.posterior[indices], self.separation)

    def clear(self, thresholds: Thresholds) -> Split:
        """Itself, or no group at all where the two lie less than `min_separation` apart, as in any set of images."""
        return self if self.separation >= thresholds.min_separation else Split(np.zeros(len(self.posterior)), 0.0)


def spectral_split(
    images: Images, members: np.ndarray, everything: Sequence[Moments], fold: np.ndarray, thresholds: Thresholds
) -> Split:
    """Divide a label's samples, `members` (n,), along the direction in which they fall apart most.

    A pattern that is added to a part of the samples stands out where natural images vary little. So the directions are
    those of greatest variance in units of what the other labels vary by, in the slow and in the fast frequencies. They
    are found in one half of the samples and applied to the other, since few samples fall apart in some direction by
    chance. Each half is centred on its own mean, since the directions of the halves differ a little.

    Args:
        everything: moments of all samples in each of `bands`, the label's included.
        fold: the half of each member, 0 or 1, (n,).

    Returns:
        Zeros if the label, or the rest, has fewer than `min_split_samples`.
    """
    found = [Split(np.zeros(len(members)), 0.0)]
    others = everything[0].count - len(members)
    if min(len(members), others) >= thresholds.min_split_samples and 0 < fold.sum() < len(fold):
        for band, moments in zip(bands(thresholds), everything, strict=True):
            found += _splits(band, images, members, moments, fold, thresholds)
    return max(found, key=lambda split: split.separation)


def _splits(
    band: Band, images: Images, members: np.ndarray, everything: Moments, fold: np.ndarray, thresholds: Thresholds
) -> list[Split]:
    """One split for every direction of a band."""
    count = thresholds.split_directions
    halves = [Moments.of(band, images, members[fold == half]) for half in (0, 1)]
    others = everything - halves[0] - halves[1]
    if others.mean.size < count:
        return []
    whitened = _whitening(band, others)

    def directions(half: int) -> np.ndarray:
        some = members[fold == half][: thresholds.max_split_samples]
        spectra = whitened(band.spectrum(images.read(some)) - halves[half].mean)
        return randomized_svd(spectra, count, random_state=0)[2].T

    first, second = directions(1), directions(0)
    cosine = first.T @ second
    match = np.abs(cosine).argmax(1)
    second = second[:, match] * np.sign(cosine[np.arange(count), match])
    along, offset = np.empty((len(members), count)), np.zeros(count)
    for half, axes in enumerate((first, second)):
        here = np.flatnonzero(fold == half)
        for block in blocks(here, images.shape):
            along[block] = whitened(band.spectrum(images.read(members[block])) - halves[half].mean) @ axes
        offset += whitened(halves[half].mean - others.mean) @ axes / 2
    return [otsu_split(values, away, thresholds) for values, away in zip(along.T, offset, strict=True)]


def _whitening(band: Band, others: Moments) -> Callable[[np.ndarray], np.ndarray]:
    """Brings spectra (..., d) to units of what the other labels vary by."""
    if not band.slow:
        scale = np.sqrt(others.covariance + band.ridge).astype(np.float32)
        return lambda spectra: spectra.astype(np.float32) / scale
    variance, axes = eigh(others.covariance + band.ridge * np.eye(len(others.mean)))
    axes = (axes / np.sqrt(variance)).astype(np.float32)
    return lambda spectra: spectra.astype(np.float32) @ axes


def otsu_split(values: np.ndarray, offset: float, thresholds: Thresholds) -> Split:
    """Otsu's cut of (n,) values: the one that leaves the least variance on its two sides.

    Args:
        values: about their mean, at least 10.
        offset: of that mean from where the other labels are.

    Returns:
        As separation (b - 3/4) / (1/4) in [0,1], where b is the share of the variance that lies between the two sides;
        3/4 is that of a uniform distribution.
    """
    ranked = np.sort(values)
    n = len(values)
    count = np.arange(1, n)
    below = ranked.cumsum()[:-1]
    between = count * (n - count) / n**2 * (below / count - (ranked.sum() - below) / (n - count)) ** 2
    least = max(thresholds.min_split_side, int(n * thresholds.min_split_share))
    place = least - 1 + int(between[least - 1 : n - least].argmax())
    high = values > (ranked[place] + ranked[place + 1]) / 2
    if values.var() < EPSILON or not high.any():  # the second: equal values on both sides of the cut
        return Split(np.zeros(n), 0.0)
    means = np.array([values[~high].mean(), values[high].mean()])
    within = max(values.var() - between[place], EPSILON)
    log_odds = (values - means.mean()) * (means[1] - means[0]) / within + np.log(high.sum() / (~high).sum())
    far = 1 if abs(means[1] + offset) > abs(means[0] + offset) else -1
    separation = (between[place] / values.var() - UNIFORM) / (1 - UNIFORM)
    return Split(expit(far * log_odds), float(np.clip(separation, 0, 1)))
