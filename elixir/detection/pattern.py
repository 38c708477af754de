"""A group of one label's samples that share a pattern which the images of the other labels do not show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.special import expit
from sklearn.utils.extmath import randomized_svd

from elixir.data.pixels import PixelStore, blocks
from elixir.detection.spectrum import BANDS, Band, Moments

DIRECTIONS = 4
LEAST = 40  # samples of a label
ENOUGH = 2000  # samples to find directions in
UNIFORM = 0.75  # separation of the two halves of a uniform distribution
SAME = 1e-9  # variance below which values are all the same


@dataclass(frozen=True)
class Split:
    """Two groups of one label's samples.

    Attributes:
        suspicion: probability of belonging to the one that lies farther from the other labels, float64 (n,).
        separation: how clearly they are two, in [0,1]: 0 for one lump or an even spread, 1 for two points.
    """

    suspicion: np.ndarray
    separation: float


def split(store: PixelStore, records: np.ndarray, everything: tuple[Moments, ...], fold: np.ndarray) -> Split:
    """Divide a label's samples along the direction in which they fall apart most clearly.

    A pattern that is added to a part of the samples stands out where natural images vary little. Therefore directions
    are those of the greatest variance in units of what the other labels vary by, in the slow waves and in the fast
    ones. They are found in one half of the samples and judged in the other, since few samples fall apart in some
    direction by chance; and each half is judged from its own mean, since the directions of the halves differ a little.

    Args:
        store: where the images are.
        records: of the label's samples, int64 (n,).
        everything: moments in each of `BANDS` of all samples, the label's included.
        fold: 0 or 1 for each sample, (n,).

    Returns:
        No suspicion and no separation if there are fewer than `LEAST` samples on either side.
    """
    found = [Split(np.zeros(len(records)), 0.0)]
    others = everything[0].count - len(records)
    if min(len(records), others) >= LEAST and 0 < fold.sum() < len(fold):
        for band, moments in zip(BANDS, everything, strict=True):
            found += _splits(band, store, records, moments, fold)
    return max(found, key=lambda split: split.separation)


def _splits(band: Band, store: PixelStore, records: np.ndarray, everything: Moments, fold: np.ndarray) -> list[Split]:
    """What the directions of one band say."""
    halves = [Moments.of(band, store, records[fold == half]) for half in (0, 1)]
    others = everything - halves[0] - halves[1]
    if others.mean.size < DIRECTIONS:
        return []
    whitened = _whitening(band, others)
    first, second = (
        _directions(whitened(band.spectrum(store.read(records[fold == half][:ENOUGH])) - halves[half].mean))
        for half in (1, 0)
    )
    same = first.T @ second
    match = np.abs(same).argmax(1)
    second = second[:, match] * np.sign(same[np.arange(DIRECTIONS), match])
    along, offset = np.empty((len(records), DIRECTIONS)), np.zeros(DIRECTIONS)
    for half, directions in enumerate((first, second)):
        here = np.flatnonzero(fold == half)
        for block in blocks(here, store.shape):
            along[block] = whitened(band.spectrum(store.read(records[block])) - halves[half].mean) @ directions
        offset += whitened(halves[half].mean - others.mean) @ directions / 2
    return [cut(values, away) for values, away in zip(along.T, offset, strict=True)]


def _whitening(band: Band, others: Moments) -> Callable[[np.ndarray], np.ndarray]:
    """Spectra (..., d) in units of what the other labels vary by."""
    if not band.together:
        return lambda spectra: spectra / np.sqrt(others.covariance + band.ridge)
    scale, axes = eigh(others.covariance + band.ridge * np.eye(len(others.mean)))
    return lambda spectra: spectra @ (axes / np.sqrt(scale))


def _directions(spectra: np.ndarray) -> np.ndarray:
    """Directions of greatest variance of (n, d) about 0, float64 (d, DIRECTIONS)."""
    return randomized_svd(spectra, DIRECTIONS, random_state=0)[2].T


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
