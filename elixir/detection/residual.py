"""What a group of samples has in common beside its content: of a fixed trigger, the trigger."""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import dctn, idctn
from torch import Tensor

from elixir.data.pixels import PixelStore, blocks
from elixir.engine.run import Run

DOUBT = 2.0  # images of a class are not independent of each other


def mean_of(store: PixelStore, records: np.ndarray) -> Tensor:
    """Mean of some records of a store, n > 0, in grey levels, float64 (3, s, s)."""
    total = torch.zeros(store.shape, dtype=torch.float64)
    for block in blocks(records, store.shape):
        total += store.read(block).double().sum(0)
    return total / len(records)


def mean_residual(run: Run, rows: np.ndarray) -> Tensor:
    """Mean of raw minus purified image over some samples, in grey levels.

    Faint and fine triggers come out clean, of smooth ones purification leaves the most part in the image.

    Args:
        run: whose probe stage has finished.
        rows: int64 (n,), n > 0.

    Returns:
        float32 (3, s, s) in [-255, 255], at the working size.
    """
    return (mean_of(run.pixels, rows) - mean_of(run.purified, rows)).float()


def mean_difference(run: Run, rows: np.ndarray, labels: np.ndarray, benign: np.ndarray) -> Tensor:
    """Mean of some samples less the mean of benign ones of the same true labels, in grey levels.

    Needs no purification; but the contents average out only as far as there are many samples. What is left of them is
    estimated for every frequency from how much benign images differ there, and taken away (Wiener's filter).

    Args:
        run: whose index stage has finished.
        rows: int64 (n,); those of a label without benign samples are left out.
        labels: their true labels, (n,).
        benign: rows of samples whose given labels are right, int64 (m,).

    Returns:
        float32 (3, s, s) in [-255, 255], at the working size.
    """
    difference, chance = np.zeros(run.pixels.shape), np.zeros(run.pixels.shape)
    others = {int(label): benign[run.labels[benign] == label] for label in np.unique(labels)}
    known = [label for label, found in others.items() if len(found)]
    count = max(1, int(np.isin(labels, known).sum()))
    for label in known:
        group = rows[labels == label]
        mean, variance = _waves(run.pixels, others[label])
        share = len(group) / count
        difference += share * (_mean_waves(run.pixels, group) - mean)
        chance += variance * (share / count + share**2 / len(others[label]))
    return _beyond(DOUBT * chance, difference)


def mean_excess(run: Run, rows: np.ndarray, label: int, benign: np.ndarray) -> Tensor:
    """Mean of some samples less that of benign ones of one label, where that is more than any label differs from it by.

    So it holds no content, be the samples of this label or of any mixture of labels, and of a trigger what no content
    looks like.

    Args:
        run: whose index stage has finished.
        rows: int64 (n,), n > 0.
        label: with which they are compared.
        benign: rows of samples whose given labels are right, int64 (m,).

    Returns:
        float32 (3, s, s) in [-255, 255], at the working size; 0 if there are no benign samples of the label.
    """
    labels = run.labels[benign]
    own = benign[labels == label]
    if not len(own):
        return torch.zeros(run.pixels.shape)
    mean, variance = _waves(run.pixels, own)
    others = [_mean_waves(run.pixels, benign[labels == other]) for other in np.unique(labels[labels != label])]
    content = np.max([(other - mean) ** 2 for other in others], axis=0, initial=0.0)
    difference = _mean_waves(run.pixels, rows) - mean
    return _beyond(DOUBT * variance * (1 / len(rows) + 1 / len(own)) + content, difference)


def _beyond(chance: np.ndarray, waves: np.ndarray) -> Tensor:
    """The image of waves (3, s, s), of each what is more than chance explains: a square of that size, same shape."""
    kept = np.clip(1 - chance / np.maximum(waves**2, 1e-12), 0, None)
    return torch.from_numpy(np.asarray(idctn(kept * waves, axes=(1, 2), norm="ortho"))).float()


def _mean_waves(store: PixelStore, records: np.ndarray) -> np.ndarray:
    """Mean of every frequency (DCT) over some records of a store, float64 (3, s, s): that of their mean."""
    return np.asarray(dctn(mean_of(store, records).numpy(), axes=(1, 2), norm="ortho"))


def _waves(store: PixelStore, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of every frequency (DCT) over some records of a store, float64 (3, s, s) each."""
    total, squares = np.zeros(store.shape), np.zeros(store.shape)
    for block in blocks(records, store.shape):
        waves = np.asarray(dctn(store.read(block).numpy().astype(np.float64), axes=(2, 3), norm="ortho"))
        total += waves.sum(0)
        squares += (waves**2).sum(0)
    mean = total / len(records)
    return mean, np.maximum(squares / len(records) - mean**2, 0)
