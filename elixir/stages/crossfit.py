"""A second opinion: classifiers trained on purified images, each reading the raw images that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir.errors import ElixirError
from elixir.models.train_classifier import ClassifierTraining
from elixir.randomness import generator
from elixir.run.run import Run
from elixir.stages.base import Columns, ReduceStage


@dataclass
class CrossfitStage(ReduceStage):
    """A trigger that does not survive purification cannot be learned from purified images, whatever their labels.

    Args:
        folds: parts of the data; a sample is read by the model that was trained on all other parts.
        epochs: passes of each training at most.
        least_steps: of the optimizer; a small set is passed more often.
    """

    name = "crossfit"
    folds: int = 2
    epochs: int = 8
    least_steps: int = 600

    def check(self) -> None:
        if self.folds < 2:
            raise ElixirError(f"crossfit.folds = {self.folds} must be at least 2")

    def reduce(self, run: Run) -> Columns:
        rows = run.readable_rows()
        labels = run.labels[rows]
        positions = np.arange(len(rows))
        fold = generator(run.seed, "folds").permutation(len(rows)) % self.folds
        logp = np.empty((len(rows), len(run.classes)), np.float16)
        for index in range(self.folds):
            name = f"crossfit-{index}"
            training = ClassifierTraining(self.epochs, self.least_steps, seed=run.seed + 1 + index)
            seen = positions[fold != index]
            run.train(name, run.purified.read, seen, labels[seen], training)
            for batch in np.array_split(positions[fold == index], max(1, (fold == index).sum() // 1024)):
                with run.network():
                    logp[batch] = run.classify(name, run.pixels.read(rows[batch]))[0]
        return {"opinion": logp.argmax(1).astype(np.int16), "logp": logp}
