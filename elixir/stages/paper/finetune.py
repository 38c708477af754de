"""The benign model: the first one, trained on with the suspects that have come back (DataElixir, step 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from elixir.data.columns import Columns
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.settings import Count, Range, Steps
from elixir.stages.paper.learn import purified_set
from elixir.training.classifier import ClassifierTraining


@dataclass
class FinetuneStage(ReduceStage):
    """Trains the model that names the rest of the suspects, and that is handed out with the result.

    Args:
        epochs: passes over the data at most.
        least_steps: of the optimizer; a small set is passed more often.
        learning_rate: a fifth of the first training's, as the authors have it.
    """

    name = "finetune"
    epochs: Count = 5
    least_steps: Steps = 300
    learning_rate: Annotated[float, Range(above=0, most=1)] = 4e-4

    def needs(self) -> tuple[str, ...]:
        return ("transitions", "settle", "learn", "consensus")

    def reduce(self, run: Run) -> Columns:
        read, rows, labels = purified_set(run, "settle", "consensus")
        seed = run.seed + 101
        training = ClassifierTraining(self.epochs, self.least_steps, learning_rate=self.learning_rate, seed=seed)
        run.train("benign", read, rows, labels, training, initial="benign-first")
        return {}
