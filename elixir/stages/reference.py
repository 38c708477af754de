"""The reference model: a classifier trained on the data as it is, poison and all, or the user's own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.errors import ElixirError
from elixir.settings import Count, Steps
from elixir.training.classifier import ClassifierTraining

LARGEST = 60_000  # in half precision


@dataclass
class ReferenceStage(ReduceStage):
    """Trains the reference model, whose reaction to purification is the first kind of evidence (DataElixir, step 1).

    Args:
        epochs: passes over the data at most.
        least_steps: of the optimizer; a small set is passed more often.
    """

    name = "reference"
    epochs: Count = 8
    least_steps: Steps = 600

    def needs(self) -> tuple[str, ...]:
        return ("index",)

    def reduce(self, run: Run) -> Columns:
        rows = run.readable_rows()
        if len(rows) < 2:
            index = run.columns("index")
            found = Counter(index["problem"][~index["readable"]].tolist()).most_common(3)
            problems = "; ".join(f"{count} of {len(run.labels)}: {problem}" for problem, count in found)
            raise ElixirError(
                f"{run.source.location} holds fewer than two readable, labelled images, which is nothing to learn from"
                + (f" ({problems})" if problems else "")
                + "; check the path, or --image and --label of a table"
            )
        if run.reference is None:
            run.train(
                "reference",
                run.pixels.read,
                rows,
                run.labels[rows],
                ClassifierTraining(self.epochs, self.least_steps, seed=run.seed),
            )
        logp = np.empty(len(rows), np.float32)
        features: list[np.ndarray] = []
        for start in range(0, len(rows), 1024):
            part = slice(start, start + 1024)
            images = run.pixels.read(rows[part])
            with run.network():
                out, feature = run.classify("reference", images)
            logp[part] = out[np.arange(len(out)), run.labels[rows[part]]]
            scale = np.maximum(1, np.abs(feature).max(1, keepdims=True) / LARGEST)  # only directions count later
            features.append((feature / scale).astype(np.float16))
        return {"logp": logp, "features": np.concatenate(features)}
