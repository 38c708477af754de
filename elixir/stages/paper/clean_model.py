"""The clean model, trained in two steps on the purified set as far as it is known (DataElixir, step 6)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from elixir.data.columns import Columns
from elixir.engine.models import CLEAN
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage, TrainingStage
from elixir.engine.training import Training
from elixir.settings import Count, Range, Steps
from elixir.training.classifier import ClassifierTraining

FIRST = "clean-first"
FIRST_SEED, SEED = 100, 101  # added to the run's seed


@dataclass
class TrainCleanFirstStage(TrainingStage, ReduceStage):
    """Trains from scratch on the samples that are not flagged and on those with a unanimous label, repaired."""

    name = "train_clean_first"
    requires = ("pixels", "purified", "flagged", "unanimous_label")
    provides = ("clean_first_model",)
    effort = 12
    epochs: Count = 10

    def reduce(self, run: Run) -> Columns:
        run.train(_on_purified_set(run, FIRST, run["unanimous_label"], self.training(run, FIRST_SEED)))
        return {}


@dataclass
class FineTuneStage(TrainingStage, ReduceStage):
    """Trains the first model on, with the samples whose label it has agreed on; it is handed out with the result.

    Args:
        learning_rate: a fifth of the first training's, as the authors have it.
    """

    name = "fine_tune"
    requires = ("pixels", "purified", "flagged", "unanimous_label", "agreed_label", "clean_first_model")
    provides = ("clean_model",)
    epochs: Count = 5
    least_steps: Steps = 300
    learning_rate: Annotated[float, Range(above=0, most=1)] = 4e-4

    def reduce(self, run: Run) -> Columns:
        label = np.maximum(run["unanimous_label"], run["agreed_label"])  # a sample has one of them at most
        training = self.training(run, SEED, learning_rate=self.learning_rate)
        run.train(_on_purified_set(run, CLEAN, label, training, initial=FIRST))
        return {}


def _on_purified_set(
    run: Run, name: str, label: np.ndarray, settings: ClassifierTraining, initial: str | None = None
) -> Training:
    """A training on the samples that are not flagged and on those with a new label (-1 for none), repaired."""
    label = label.astype(np.int64)
    indices = np.flatnonzero(~run["flagged"] | (label >= 0))
    labels = np.where(label[indices] >= 0, label[indices], run.labels[indices])
    return Training(name, indices, labels, settings, purified=np.flatnonzero(label >= 0), initial=initial)
