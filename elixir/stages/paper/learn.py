"""The first benign model: trained from scratch without the suspects that are still open (DataElixir, step 6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elixir.data.columns import Columns
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.settings import Count, Steps
from elixir.training.classifier import ClassifierTraining, ReadPixels


@dataclass
class LearnStage(ReduceStage):
    """Trains on the samples that are not suspect and on those that were settled, with their new images and labels.

    Args:
        epochs: passes over the data at most.
        least_steps: of the optimizer; a small set is passed more often.
    """

    name = "learn"
    epochs: Count = 10
    least_steps: Steps = 600

    def needs(self) -> tuple[str, ...]:
        return ("transitions", "settle")

    def reduce(self, run: Run) -> Columns:
        read, rows, labels = purified_set(run, "settle")
        training = ClassifierTraining(self.epochs, self.least_steps, seed=run.seed + 100)
        run.train("benign-first", read, rows, labels, training)
        return {}


def decided(run: Run, *stages: str) -> np.ndarray:
    """New label of every sample of the source by these stages, int64, -1 where they have decided nothing."""
    label = np.full(len(run.labels), -1, np.int64)
    for stage in stages:
        columns = run.columns(stage)
        label[columns["row"]] = columns.get("label", -1)
    return label


def purified_set(run: Run, *stages: str) -> tuple[ReadPixels, np.ndarray, np.ndarray]:
    """The purified set so far: what is not suspect, and the suspects that the stages have decided.

    Returns:
        A function that reads rows as uint8 (n, 3, s, s), the rows int64 (n,), and their labels int64 (n,).
    """
    label = decided(run, *stages)
    rows = run.readable_rows()
    rows = rows[~run.column("transitions", "suspect") | (label[rows] >= 0)]

    def read(wanted: np.ndarray) -> Tensor:
        images = run.pixels.read(wanted)
        replaced = np.flatnonzero(label[wanted] >= 0)
        images[torch.from_numpy(replaced)] = run.purified.read(wanted[replaced])
        return images

    return read, rows, np.where(label[rows] >= 0, label[rows], run.labels[rows])
