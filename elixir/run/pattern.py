"""A group of one label's samples that share a pattern which the images of the other labels do not show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import dctn
from scipy.linalg import eigh
from scipy.special import expit
from torch import Tensor

LUMA, CHROMA = 16, 8  # lowest frequencies along each axis
YCBCR = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
RIDGE = 1e-4
DIRECTIONS = 4
LEAST = 40  # samples of a label
UNIFORM = 0.75  # separation of the two halves of a uniform distribution


def spectrum(images: Tensor) -> np.ndarray:
    """The lowest frequencies (DCT) of brightness and colour.

    Args:
        images: uint8 (n, 3, s, s).

    Returns:
        float64 (n, d), in units of [0,1] pixels; d = 384 for s >= 16.
    """
    ycbcr = np.einsum("cd,ndij->ncij", YCBCR, images.numpy() / 255)
    waves = np.asarray(dctn(ycbcr, axes=(2, 3), norm="ortho"))
    parts = (waves[:, 0, :LUMA, :LUMA], waves[:, 1, :CHROMA, :CHROMA], waves[:, 2, :CHROMA, :CHROMA])
    return np.concatenate([part.reshape(len(images), -1) for part in parts], 1)


@dataclass
class Moments:
    """Count, sum and products of spectra, to which parts can be added and from which they can be taken away."""

    count: int
    total: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, spectra: np.ndarray) -> Moments:
        """Those of float64 (n, d)."""
        return cls(len(spectra), spectra.sum(0), spectra.T @ spectra)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.products + other.products)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.count - other.count, self.total - other.total, self.products - other.products)


@dataclass(frozen=True)
class Split:
    """Two groups of one label's samples.

    Attributes:
        suspicion: probability of belonging to the one that lies farther from the other labels, float64 (n,).
        separation: how clearly they are two, in [0,1]: 0 for one lump, 1 for two points.
    """

    suspicion: np.ndarray
    separation: float


def split(own: np.ndarray, others: Moments, fold: np.ndarray) -> Split:
    """Divide a label's samples along the direction in which they fall apart most clearly.

    A pattern that is added to a part of the samples stands out where natural images vary little. Therefore directions
    are those of the greatest variance in units of the other labels' covariance. They are found in one half of the
    samples and judged in the other, since few samples fall apart in some direction by chance.

    Args:
        own: spectra of the label's samples, (n, d).
        others: of the spectra of all other labels.
        fold: 0 or 1 for each sample, (n,).

    Returns:
        No suspicion and no separation if there are fewer than `LEAST` samples on either side.
    """
    if min(len(own), others.count) < LEAST:
        return Split(np.zeros(len(own)), 0.0)
    mean = others.total / others.count
    covariance = others.products / others.count - np.outer(mean, mean) + RIDGE * np.eye(len(mean))
    scale, axes = eigh(covariance)
    whitened = (own - mean) @ (axes / np.sqrt(scale))
    first, second = (_directions(whitened[fold == half]) for half in (1, 0))
    same = first.T @ second
    match = np.abs(same).argmax(1)
    second = second[:, match] * np.sign(same[np.arange(DIRECTIONS), match])
    along = np.where((fold == 0)[:, None], whitened @ first, whitened @ second)
    best = max((_two(values) for values in along.T), key=lambda found: found.separation)
    return Split(best.suspicion, float(np.clip((best.separation - UNIFORM) / (1 - UNIFORM), 0, 1)))


def _directions(whitened: np.ndarray) -> np.ndarray:
    """Directions of greatest variance, (d, DIRECTIONS)."""
    d = whitened.shape[1]
    return eigh(np.cov(whitened.T), subset_by_index=[d - DIRECTIONS, d - 1])[1][:, ::-1]


def _two(values: np.ndarray) -> Split:
    """Otsu's cut of (n,) values of which other labels have 0 on average; separation: share of the variance between."""
    ranked = np.sort(values)
    n = len(values)
    count = np.arange(1, n)
    below = ranked.cumsum()[:-1]
    between = count * (n - count) / n**2 * (below / count - (ranked.sum() - below) / (n - count)) ** 2
    least = max(3, n // 50)
    cut = least - 1 + int(between[least - 1 : n - least].argmax())
    high = values > (ranked[cut] + ranked[cut + 1]) / 2
    if not high.any():  # equal values on both sides of the cut
        return Split(np.zeros(n), 0.0)
    means = np.array([values[~high].mean(), values[high].mean()])
    within = max(values.var() - between[cut], 1e-12)
    odds = (values - means.mean()) * (means[1] - means[0]) / within + np.log(high.sum() / (~high).sum())
    far = 1 if abs(means[1]) > abs(means[0]) else -1
    return Split(expit(far * odds), float(between[cut] / values.var()))
