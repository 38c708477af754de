"""What a group of samples has in common beside its content: of a fixed trigger, the trigger."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from elixir.data.pixels import PixelStore
from elixir.run.run import Run

AT_ONCE = 256


def mean_residual(run: Run, positions: np.ndarray) -> Tensor:
    """Mean of raw minus purified image over some readable samples, in grey levels.

    Faint and fine triggers come out clean, of smooth ones purification leaves the most part in the image.

    Args:
        run: whose probe stage has finished.
        positions: among the readable rows, int64 (n,), n > 0.

    Returns:
        float32 (3, s, s) in [-255, 255], at the working size.
    """
    return (mean_of(run.pixels, run.readable_rows()[positions]) - mean_of(run.purified, positions)).float()


def mean_difference(run: Run, rows: np.ndarray, labels: np.ndarray, benign: np.ndarray) -> Tensor:
    """Mean of some samples less the mean of benign ones of the same true labels, in grey levels.

    Needs no purification, but many samples: the contents average out.

    Args:
        run: whose index stage has finished.
        rows: int64 (n,); those of a label without benign samples are left out.
        labels: their true labels, (n,).
        benign: rows of samples whose given labels are right, int64 (m,).

    Returns:
        float32 (3, s, s) in [-255, 255], at the working size.
    """
    total, count = torch.zeros(run.pixels.shape, dtype=torch.float64), 0
    for label in np.unique(labels):
        group, others = rows[labels == label], benign[run.labels[benign] == label]
        if len(others):
            total += len(group) * (mean_of(run.pixels, group) - mean_of(run.pixels, others))
            count += len(group)
    return (total / max(count, 1)).float()


def mean_of(store: PixelStore, records: np.ndarray) -> Tensor:
    """Mean of some records of a store, n > 0, in grey levels, float64 (3, s, s)."""
    total = torch.zeros(store.shape, dtype=torch.float64)
    for start in range(0, len(records), AT_ONCE):
        total += store.read(records[start : start + AT_ONCE]).double().sum(0)
    return total / len(records)
