"""Held-out readings: classifiers trained on purified images, each reading the raw images that it has not seen."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from elixir.data.columns import Columns
from elixir.data.pixels import blocks
from elixir.detection.tiles import erase
from elixir.engine.models import heldout_model
from elixir.engine.run import Run
from elixir.engine.stage import TrainingStage
from elixir.randomness import Draw, generator
from elixir.settings import Count, Range, Steps


@dataclass
class CrossfitStage(TrainingStage):
    """A trigger that does not survive purification cannot be learned from purified images, whatever their labels.

    One that does survive is a patch; without the tile that carries it these models see what else is in the image. Both
    log-probabilities of the given label are kept: in the raw image, and in the raw image without the tile that the
    stage probe has found. So is the label that is most probable in the raw image: where it is hardly ever the given
    one, nothing is known. The models read mirrored images too: if they do so as well as the others, mirroring keeps
    labels.

    Args:
        folds: parts of the data; a sample is read by the model that was trained on all other parts.
    """

    name = "crossfit"
    requires = ("pixels", "purified", "tile")
    provides = ("heldout_logp", "heldout_erased_logp", "heldout_label", "heldout_fold", "accuracy")
    effort = 22
    epochs: Count = 3
    least_steps: Steps = 150
    folds: Annotated[int, Range(least=2)] = 2

    def reduce(self, run: Run) -> Columns:
        labels, tile, per_side = run.labels, run["tile"], run.thresholds.tiles_per_side
        fold = generator(run.seed, Draw.FOLDS).permutation(len(run)) % self.folds
        logp = np.empty(len(run), np.float16)
        erased_logp = np.empty_like(logp)
        seen_label = np.empty(len(run), np.int32)
        mirrored = 0
        for number in range(self.folds):
            name = heldout_model(number)
            training = self.training(run, 1 + number)
            seen = np.flatnonzero(fold != number)
            run.models.train(name, run.purified.read, seen, labels[seen], training)
            for block in blocks(np.flatnonzero(fold == number), run.pixels.shape):
                raw = run.pixels.read(block)
                given = np.arange(len(block)), labels[block]
                read = run.models.classify(name, raw)[0]
                erased = erase(raw.float() / 255, tile[block], per_side)
                erased_logp[block] = run.models.classify(name, erased)[0][given]
                mirrored += int((run.models.classify(name, raw.flip(-1))[0].argmax(1) == labels[block]).sum())
                logp[block] = read[given]
                seen_label[block] = read.argmax(1)
        right = int((seen_label == labels).sum())
        run.facts["accuracy"] = {"raw": right / len(run), "mirrored": mirrored / len(run)}
        return {
            "heldout_logp": logp,
            "heldout_erased_logp": erased_logp,
            "heldout_label": seen_label,
            "heldout_fold": fold.astype(np.int16),
        }
