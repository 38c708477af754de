"""The clean model: trained on everything but the flagged samples."""

from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.engine.models import CLEAN, REFERENCE
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage, TrainingStage
from elixir.engine.training import Training
from elixir.settings import Count

SEED = 100  # added to the run's seed


@dataclass
class CleanModelStage(TrainingStage, ReduceStage):
    """Trains the model that names the flagged samples' true labels, and that is handed out with the result.

    If the cross-fitted models name the labels of mirrored images almost as well as those of the images themselves, it
    learns from mirrored ones too, in more passes. Without flagged samples it is the reference model, unless that is the
    user's own.

    Args:
        mirrored_passes: factor on `epochs` where it learns from mirrored images too.
    """

    name = "clean_model"
    requires = ("pixels", "reference_model", "accuracy", "flagged")
    provides = ("clean_model", "mirrored")
    effort = 11
    epochs: Count = 4
    mirrored_passes: Count = 2

    def reduce(self, run: Run) -> Columns:
        is_flagged, accuracy = run["flagged"], run.facts["accuracy"]
        mirrored = accuracy["mirrored"] >= run.thresholds.mirror_accuracy * accuracy["raw"]
        run.facts["mirrored"] = mirrored
        if not is_flagged.any() and not run.models.own_reference:
            run.models.copy(REFERENCE, CLEAN)
            return {}
        rest = np.flatnonzero(~is_flagged)
        epochs = self.mirrored_passes * self.epochs if mirrored else self.epochs
        training = self.training(run, SEED, epochs=epochs, flip=mirrored)
        run.train(Training(CLEAN, rest, run.labels[rest], training))
        return {}
