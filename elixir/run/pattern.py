"""A group of one label's samples that share a pattern which the images of the other labels do not show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import dctn
from scipy.linalg import eigh
from scipy.special import expit
from torch import Tensor

from elixir.data.pixels import PixelStore, blocks

LUMA, CHROMA = 16, 8  # lowest frequencies along each axis
YCBCR = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
RIDGE = 1e-4
DIRECTIONS = 4
LEAST = 40  # samples of a label
UNIFORM = 0.75  # separation of the two halves of a uniform distribution
SAME = 1e-9  # variance below which values are all the same


@dataclass(frozen=True)
class Moments:
    """Count, sum and products of spectra, to which others can be added and from which they can be taken away."""

    count: int
    total: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, store: PixelStore, records: np.ndarray) -> Moments:
        """Those of some records of a store, a few in memory at a time."""
        d = spectrum(store.read(records[:0])).shape[1]
        found = cls(0, np.zeros(d), np.zeros((d, d)))
        for block in blocks(records, store.shape):
            part = spectrum(store.read(block))
            found += cls(len(part), part.sum(0), part.T @ part)
        return found

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
        """Float64 (d, d)."""
        return self.products / self.count - np.outer(self.mean, self.mean)


@dataclass(frozen=True)
class Split:
    """Two groups of one label's samples.

    Attributes:
        suspicion: probability of belonging to the one that lies farther from the other labels, float64 (n,).
        separation: how clearly they are two, in [0,1]: 0 for one lump or an even spread, 1 for two points.
    """

    suspicion: np.ndarray
    separation: float


def spectrum(images: Tensor) -> np.ndarray:
    """The lowest frequencies (DCT) of brightness and colour.

    Args:
        images: uint8 (n, 3, s, s).

    Returns:
        float64 (n, d), in units of [0,1] pixels; d = 384 for s >= 16.
    """
    ycbcr = np.einsum("cd,ndij->ncij", YCBCR, images.numpy() / 255)
    waves = np.asarray(dctn(ycbcr, axes=(2, 3), norm="ortho")) if len(ycbcr) else ycbcr
    parts = (waves[:, 0, :LUMA, :LUMA], waves[:, 1, :CHROMA, :CHROMA], waves[:, 2, :CHROMA, :CHROMA])
    return np.concatenate([part.reshape(len(images), part.shape[1] * part.shape[2]) for part in parts], 1)


def split(store: PixelStore, records: np.ndarray, everything: Moments, fold: np.ndarray) -> Split:
    """Divide a label's samples along the direction in which they fall apart most clearly.

    A pattern that is added to a part of the samples stands out where natural images vary little. Therefore directions
    are those of the greatest variance in units of the other labels' covariance. They are found in one half of the
    samples and judged in the other, since few samples fall apart in some direction by chance; and each half is judged
    from its own mean, since the directions of the halves differ a little.

    Args:
        store: where the images are.
        records: of the label's samples, int64 (n,).
        everything: moments of all samples, the label's included.
        fold: 0 or 1 for each sample, (n,).

    Returns:
        No suspicion and no separation if there are fewer than `LEAST` samples on either side.
    """
    halves = [Moments.of(store, records[fold == half]) for half in (0, 1)]
    others = everything - halves[0] - halves[1]
    if min(len(records), others.count) < LEAST or not min(half.count for half in halves):
        return Split(np.zeros(len(records)), 0.0)
    scale, axes = eigh(others.covariance + RIDGE * np.eye(len(others.mean)))
    whitening = axes / np.sqrt(scale)
    first, second = (_directions(whitening.T @ half.covariance @ whitening) for half in (halves[1], halves[0]))
    same = first.T @ second
    match = np.abs(same).argmax(1)
    second = second[:, match] * np.sign(same[np.arange(DIRECTIONS), match])
    along, offset = np.empty((len(records), DIRECTIONS)), np.zeros(DIRECTIONS)
    for half, directions in enumerate((whitening @ first, whitening @ second)):
        here = np.flatnonzero(fold == half)
        for block in blocks(here, store.shape):
            along[block] = (spectrum(store.read(records[block])) - halves[half].mean) @ directions
        offset += (halves[half].mean - others.mean) @ directions / 2
    found = [cut(values, away) for values, away in zip(along.T, offset, strict=True)]
    return max(found, key=lambda split: split.separation)


def _directions(covariance: np.ndarray) -> np.ndarray:
    """Directions of greatest variance, (d, DIRECTIONS)."""
    d = len(covariance)
    return eigh(covariance, subset_by_index=[d - DIRECTIONS, d - 1])[1][:, ::-1]


def cut(values: np.ndarray, offset: float = 0.0) -> Split:
    """Otsu's cut of (n,) values, which leaves the least variance on its two sides.

    Args:
        values: about their mean, at least 10.
        offset: of that mean from where the other labels are.

    Returns:
        As separation, the share of the variance that lies between the sides, from that of a uniform distribution (0)
        to all of it (1).
    """
    ranked = np.sort(values)
    n = len(values)
    count = np.arange(1, n)
    below = ranked.cumsum()[:-1]
    between = count * (n - count) / n**2 * (below / count - (ranked.sum() - below) / (n - count)) ** 2
    least = max(3, n // 50)
    place = least - 1 + int(between[least - 1 : n - least].argmax())
    high = values > (ranked[place] + ranked[place + 1]) / 2
    if values.var() < SAME or not high.any():  # the second: equal values on both sides of the cut
        return Split(np.zeros(n), 0.0)
    means = np.array([values[~high].mean(), values[high].mean()])
    within = max(values.var() - between[place], SAME)
    odds = (values - means.mean()) * (means[1] - means[0]) / within + np.log(high.sum() / (~high).sum())
    far = 1 if abs(means[1] + offset) > abs(means[0] + offset) else -1
    separation = (between[place] / values.var() - UNIFORM) / (1 - UNIFORM)
    return Split(expit(far * odds), float(np.clip(separation, 0, 1)))
