"""The reference model: a classifier trained on the data as it is, poison and all, or the user's own."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.engine.models import REFERENCE
from elixir.engine.run import Run
from elixir.engine.stage import MapStage, TrainingStage
from elixir.engine.training import Training
from elixir.errors import ElixirError

HALF_MAX = 60_000  # features are kept in half precision


@dataclass
class ReferenceStage(TrainingStage, MapStage):
    """Trains the reference model, whose reaction to purification is the first kind of evidence (DataElixir, step 1)."""

    name = "reference"
    requires = ("pixels",)
    provides = ("reference_model", "reference_logp", "features")
    effort = 16

    def prepare(self, run: Run) -> None:
        if len(run) < 2:
            problems = run["source_problem"]
            found = Counter(problems[problems != ""].tolist()).most_common(3)
            described = "; ".join(f"{count} of {len(problems)}: {problem}" for problem, count in found)
            raise ElixirError(
                f"{run.source.location} holds fewer than two readable, labelled images, which is nothing to learn from"
                + (f" ({described})" if described else "")
                + "; check the path, or --image and --label of a table"
            )
        if not run.models.own_reference:
            run.train(Training(REFERENCE, np.arange(len(run)), run.labels, self.training(run)))

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        logp, features = run.models.classify(REFERENCE, run.pixels.read(indices))
        scale = np.maximum(1, np.abs(features).max(1, keepdims=True) / HALF_MAX)  # only directions count later
        return {
            "reference_logp": logp[np.arange(len(indices)), run.labels[indices]],
            "features": (features / scale).astype(np.float16),
        }
