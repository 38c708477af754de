"""What purification takes away from a group of samples on average: of a fixed trigger, the trigger."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from elixir.run.run import Run

AT_ONCE = 256


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
