"""A second opinion: classifiers trained on purified images, each reading the raw images that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from elixir.data.columns import Columns
from elixir.data.pixels import blocks
from elixir.detection.tiles import erased
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.randomness import generator
from elixir.settings import Count, Range, Steps
from elixir.training.classifier import ClassifierTraining


@dataclass
class CrossfitStage(ReduceStage):
    """A trigger that does not survive purification cannot be learned from purified images, whatever their labels.

    One that does survive is a patch; without the tile that carries it these models see what else is in the image. Both
    readings of the given label are kept: of the raw image, and of the raw image without the tile that the probe stage
    has found. The models read mirrored images too: if they do so as well as the others, mirroring keeps labels.

    Args:
        folds: parts of the data; a sample is read by the model that was trained on all other parts.
        epochs: passes of each training at most.
        least_steps: of the optimizer; a small set is passed more often.
    """

    name = "crossfit"
    folds: Annotated[int, Range(least=2)] = 2
    epochs: Count = 8
    least_steps: Steps = 600

    def needs(self) -> tuple[str, ...]:
        return ("probe",)

    def reduce(self, run: Run) -> Columns:
        rows = run.readable_rows()
        labels = run.labels[rows]
        positions = np.arange(len(rows))
        fold = generator(run.seed, "folds").permutation(len(rows)) % self.folds
        tile = run.column("probe", "tile")
        logp = np.empty(len(rows), np.float16)
        erased_logp = np.empty_like(logp)
        right = mirrored = 0
        for index in range(self.folds):
            name = f"crossfit-{index}"
            training = ClassifierTraining(self.epochs, self.least_steps, seed=run.seed + 1 + index)
            seen = fold != index
            run.train(name, run.purified.read, rows[seen], labels[seen], training)
            for batch in blocks(positions[fold == index], run.pixels.shape):
                raw = run.pixels.read(rows[batch])
                without = erased(raw.float() / 255, tile[batch])
                own = np.arange(len(batch)), labels[batch]
                with run.network():
                    opinion = run.classify(name, raw)[0]
                    erased_logp[batch] = run.classify(name, without)[0][own]
                    mirrored += int((run.classify(name, raw.flip(-1))[0].argmax(1) == labels[batch]).sum())
                logp[batch] = opinion[own]
                right += int((opinion.argmax(1) == labels[batch]).sum())
        run.findings["accuracy"] = {"raw": right / len(rows), "mirrored": mirrored / len(rows)}
        return {"logp": logp, "erased_logp": erased_logp}
