"""What a classifier of a run is to learn, as plain data, so that any process that has the run can train it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from elixir.training.classifier import ClassifierTraining

if TYPE_CHECKING:
    from elixir.engine.run import Run


@dataclass(frozen=True)
class Training:
    """One training of a classifier on samples of a run.

    Args:
        name: under which the classifier is kept.
        indices: of the samples, int64 (n,).
        labels: that they are to have, int64 (n,).
        settings: of the training.
        purified: the samples, int64, of which it sees the purified image.
        initial: name of the kept classifier whose weights it starts from; the backbone's by default.
        classes: names of the labels; those of the dataset by default.
    """

    name: str
    indices: np.ndarray
    labels: np.ndarray
    settings: ClassifierTraining
    purified: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    initial: str | None = None
    classes: Sequence[str] | None = None

    def carry_out(self, run: Run) -> None:
        """Train it here; nothing is done when an earlier run has kept it. For errors see `Models.train`."""
        is_purified = np.zeros(len(run), bool)
        is_purified[self.purified] = True

        def read(indices: np.ndarray) -> Tensor:
            images = run.pixels.read(indices)
            replaced = np.flatnonzero(is_purified[indices])
            if len(replaced):
                images[torch.from_numpy(replaced)] = run.purified.read(indices[replaced])
            return images

        run.models.train(self.name, read, self.indices, self.labels, self.settings, self.initial, self.classes)
