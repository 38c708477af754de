"""Held-out readings: classifiers trained on purified images, each reading the raw images that it has not seen."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from elixir.data.columns import Columns
from elixir.detection.tiles import erase
from elixir.engine.models import heldout_model
from elixir.engine.run import Run
from elixir.engine.stage import HeldOutStage, MapStage
from elixir.engine.training import Training
from elixir.randomness import Draw, generator
from elixir.settings import Count, Range, Steps


@dataclass
class CrossfitStage(HeldOutStage, MapStage):
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
    provides = (
        *("heldout_logp", "heldout_erased_logp", "heldout_label", "heldout_mirrored_label", "heldout_fold"),
        "accuracy",
    )
    effort = 22
    epochs: Count = 3
    least_steps: Steps = 150
    folds: Annotated[int, Range(least=2)] = 2

    def prepare(self, run: Run) -> None:
        fold = self._fold(run)
        trainings = []
        for number in range(self.folds):
            seen = np.flatnonzero(fold != number)
            settings = self.training(run, 1 + number)
            trainings.append(Training(heldout_model(number), seen, run.labels[seen], settings, purified=seen))
        run.train(*trainings)

    def open(self, run: Run) -> None:
        self._fold_of, self._tile = self._fold(run), run["tile"]

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        raw, labels, fold = run.pixels.read(indices), run.labels[indices], self._fold_of[indices]
        erased = erase(raw.float() / 255, self._tile[indices], run.thresholds.tiles_per_side)
        logp, erased_logp, mirrored_logp = np.empty((3, len(indices), len(run.classes)), np.float32)
        for number in np.unique(fold).tolist():
            own, name = np.flatnonzero(fold == number), heldout_model(number)
            for images, read in ((raw, logp), (erased, erased_logp), (raw.flip(-1), mirrored_logp)):
                read[own] = run.models.classify(name, images[own])[0]
        given = np.arange(len(indices)), labels
        return {
            "heldout_logp": logp[given].astype(np.float16),
            "heldout_erased_logp": erased_logp[given].astype(np.float16),
            "heldout_label": logp.argmax(1).astype(np.int32),
            "heldout_mirrored_label": mirrored_logp.argmax(1).astype(np.int32),
            "heldout_fold": fold.astype(np.int16),
        }

    def conclude(self, run: Run) -> None:
        read = {"raw": run["heldout_label"], "mirrored": run["heldout_mirrored_label"]}
        run.facts["accuracy"] = {name: float((label == run.labels).mean()) for name, label in read.items()}

    def _fold(self, run: Run) -> np.ndarray:
        """Which model reads each sample, int64 (n,)."""
        return generator(run.seed, Draw.FOLDS).permutation(len(run)) % self.folds
