"""The benign model names the suspects that are still open (DataElixir, step 7)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.stages.paper.learn import decided
from elixir.stages.paper.replacement import replace_images


@dataclass
class ConcludeStage(MapStage):
    """Every suspect counts as poisoned and gets a purified image, even where its label turns out to be right."""

    name = "conclude"

    def needs(self) -> tuple[str, ...]:
        return ("reference", "candidates", "transitions", "settle", "consensus", "finetune")

    def rows(self, run: Run) -> np.ndarray:
        found = run.columns("transitions")
        return found["row"][found["suspect"]]

    def process(self, run: Run, rows: np.ndarray) -> Columns:
        label = decided(run, "settle", "consensus")[rows]
        undecided = label < 0
        if undecided.any():
            with run.network():
                logp, _ = run.classify("benign", run.pixels.read(rows[undecided]))
            label[undecided] = logp.argmax(1)
            replace_images(run, rows[undecided], label[undecided])
        return {"label": label.astype(np.int32), "verdict": np.full(len(rows), "poisoned", object)}
