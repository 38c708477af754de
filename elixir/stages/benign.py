"""The benign model: trained on everything but the suspects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from elixir.data.columns import Columns
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.settings import Count, Range, Steps
from elixir.training.classifier import ClassifierTraining


@dataclass
class BenignStage(ReduceStage):
    """Trains the model that names the suspects' true labels, and that is handed out with the result.

    If the cross-fitted models name the labels of mirrored images almost as well as those of the images themselves, it
    learns from mirrored ones too, in twice as many passes. Without suspects it is the reference model, unless that is
    the user's own.

    Args:
        epochs: passes over the data at most.
        least_steps: of the optimizer; a small set is passed more often.
        mirror_from: accuracy on mirrored images, as a share of that on the images, from which to mirror.
    """

    name = "benign"
    epochs: Count = 10
    least_steps: Steps = 600
    mirror_from: Annotated[float, Range(least=0, most=1)] = 0.75

    def needs(self) -> tuple[str, ...]:
        return ("reference", "refine")

    def reduce(self, run: Run) -> Columns:
        suspect = run.column("refine", "suspect")
        accuracy = run.findings.get("accuracy", {"raw": 1.0, "mirrored": 0.0})
        flip = run.findings["mirrored"] = accuracy["mirrored"] >= self.mirror_from * accuracy["raw"]
        if not suspect.any() and run.reference is None:
            run.copy_model("reference", "benign")
            return {}
        rows = run.readable_rows()[~suspect]
        epochs = 2 * self.epochs if flip else self.epochs
        training = ClassifierTraining(epochs, self.least_steps, flip=flip, seed=run.seed + 100)
        run.train("benign", run.pixels.read, rows, run.labels[rows], training)
        return {}
