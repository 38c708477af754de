"""What purification takes away from a group of samples on average: of a fixed trigger, the trigger."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from elixir.run.run import Run

AT_ONCE = 256
GAIN = 1.25  # purification leaves a part of a trigger behind


def mean_residual(run: Run, positions: np.ndarray) -> Tensor:
    """Mean of raw minus purified image over some readable samples, in grey levels.

    Args:
        run: whose probe stage has finished.
        positions: among the readable rows, int64 (n,), n > 0.

    Returns:
        float32 (3, s, s) in [-255, 255], at the working size.
    """
    rows = run.readable_rows()
    total = torch.zeros(run.pixels.shape, dtype=torch.float64)
    for start in range(0, len(positions), AT_ONCE):
        part = positions[start : start + AT_ONCE]
        total += (run.pixels.read(rows[part]).double() - run.purified.read(part).double()).sum(0)
    return (total / len(positions)).float()


def triggers(run: Run, rows: np.ndarray) -> dict[int, Tensor]:
    """An estimate of the trigger in the samples of each label, from suspects.

    Args:
        run: whose probe stage has finished.
        rows: suspects, int64 (n,).

    Returns:
        Label -> float32 (3, s, s) in [0,1] pixel units, to be subtracted.
    """
    given = run.labels[rows]
    return {
        int(label): GAIN / 255 * mean_residual(run, run.positions(rows[given == label])) for label in np.unique(given)
    }
