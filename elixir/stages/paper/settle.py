"""Suspects whose candidates agree get their label and a purified image at once (DataElixir, step 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.stages.paper.replacement import replace_images


@dataclass
class SettleStage(MapStage):
    """The candidates' one label replaces the given one, and one of the candidates the image."""

    name = "settle"

    def needs(self) -> tuple[str, ...]:
        return ("reference", "candidates", "transitions")

    def rows(self, run: Run) -> np.ndarray:
        found = run.columns("transitions")
        return found["row"][found["suspect"] & found["single"]]

    def process(self, run: Run, rows: np.ndarray) -> Columns:
        label = run.column("transitions", "label")[run.positions(rows)]
        replace_images(run, rows, label)
        return {"label": label}
