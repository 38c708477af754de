"""What a stage is: a step that turns columns and models of a run into more columns and models."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np

from elixir.data.columns import Columns
from elixir.engine.run import Run
from elixir.settings import Count, Range, Settings, Steps
from elixir.training.classifier import ClassifierTraining


@dataclass
class Stage(Settings):
    """A named step of a pipeline; subclasses are dataclasses whose fields are the recipe's settings.

    Derive from `MapStage` or `ReduceStage`, not from this. What is passed on has a name of its own: a column (a value
    for every sample), a fact about the whole set, a model, a store of images.
    """

    name: ClassVar[str]
    what: ClassVar[str] = "stage"
    requires: ClassVar[tuple[str, ...]] = ()
    """Names that earlier stages must have provided."""
    provides: ClassVar[tuple[str, ...]] = ()
    """Names that later stages may require."""
    effort: ClassVar[int] = 1
    """Its share of the time of a run, roughly, in percent: for the bar of the whole run alone."""


class MapStage(Stage):
    """Sees one batch of samples at a time and writes columns for it; resumed by part.

    Its parts may be worked on in several processes, each with a copy of the stage. What these share lies in the run:
    columns, facts and models, but no attribute of the stage that `prepare` has set.
    """

    def prepare(self, run: Run) -> None:
        """Train models and find facts that `process` needs; called once, before all else, also when going on."""

    def indices(self, run: Run) -> np.ndarray:
        """Which samples (int64) it works on; all by default. Its columns have a fill value for the others."""
        return np.arange(len(run))

    def open(self, run: Run) -> None:
        """Load what `process` needs; called in every process that works on parts, before its first one."""

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        """Columns for these samples, each an array whose first dimension is len(indices)."""
        raise NotImplementedError

    def conclude(self, run: Run) -> None:
        """Find facts by the columns; called once, when all of them are written."""


class ReduceStage(Stage):
    """Sees columns of the whole set, never its pixels at once; trains models or decides."""

    def reduce(self, run: Run) -> Columns:
        """Columns for all samples, in order; may be empty."""
        raise NotImplementedError


@dataclass
class TrainingStage(Stage):
    """Settings of a stage that trains classifiers; derive from `MapStage` or `ReduceStage` as well.

    Args:
        epochs: passes over the data at most, of each training.
        least_steps: of the optimizer; a small set is passed more often.
    """

    epochs: Count = 3
    least_steps: Steps = 200

    def training(self, run: Run, seed: int = 0, **own: Any) -> ClassifierTraining:
        """Settings of a training: the run's, this stage's, a seed on top of the run's, and others by name."""
        steps = {"epochs": self.epochs, "least_steps": self.least_steps, "seed": run.seed + seed}
        return replace(run.training, **(steps | own))


@dataclass
class HeldOutStage(TrainingStage):
    """Settings of a stage whose classifiers are to see what images show, and not to learn a trigger of any colour.

    Args:
        tint: largest random change of each colour channel of a training image, as a fraction of its range.
    """

    tint: Annotated[float, Range(least=0, most=1)] = 0.2

    def training(self, run: Run, seed: int = 0, **own: Any) -> ClassifierTraining:
        return super().training(run, seed, **{"tint": self.tint, **own})
