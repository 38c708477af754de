"""Suspects whose candidates disagree come back where the first benign model confirms the majority (step 6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.stages.paper.replacement import replace_images


@dataclass
class ConsensusStage(MapStage):
    """The candidates' most common label if the first benign model reads it in the raw image too, else -1."""

    name = "consensus"

    def needs(self) -> tuple[str, ...]:
        return ("reference", "candidates", "transitions", "learn")

    def rows(self, run: Run) -> np.ndarray:
        found = run.columns("transitions")
        return found["row"][found["suspect"] & ~found["single"]]

    def process(self, run: Run, rows: np.ndarray) -> Columns:
        majority = run.column("transitions", "label")[run.positions(rows)]
        with run.network():
            logp, _ = run.classify("benign-first", run.pixels.read(rows))
        agreed = logp.argmax(1) == majority
        replace_images(run, rows[agreed], majority[agreed])
        return {"label": np.where(agreed, majority, -1).astype(np.int32)}
