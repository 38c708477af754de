"""The reference model: a classifier trained on the data as it is, poison and all, or the user's own."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.engine.models import REFERENCE
from elixir.engine.run import Run
from elixir.engine.stage import TrainingStage
from elixir.errors import ElixirError

HALF_MAX = 60_000  # features are kept in half precision
READ_AT_ONCE = 1024


@dataclass
class ReferenceStage(TrainingStage):
    """Trains the reference model, whose reaction to purification is the first kind of evidence (DataElixir, step 1)."""

    name = "reference"
    requires = ("pixels",)
    provides = ("reference_model", "reference_logp", "features")
    effort = 16

    def reduce(self, run: Run) -> Columns:
        everything = np.arange(len(run))
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
            training = self.training(run)
            run.models.train(REFERENCE, run.pixels.read, everything, run.labels, training)
        logp = np.empty(len(run), np.float32)
        features: list[np.ndarray] = []
        for start in range(0, len(run), READ_AT_ONCE):
            part = slice(start, start + READ_AT_ONCE)
            out, feature = run.models.classify(REFERENCE, run.pixels.read(everything[part]))
            logp[part] = out[np.arange(len(out)), run.labels[part]]
            scale = np.maximum(1, np.abs(feature).max(1, keepdims=True) / HALF_MAX)  # only directions count later
            features.append((feature / scale).astype(np.float16))
        return {"reference_logp": logp, "features": np.concatenate(features)}
