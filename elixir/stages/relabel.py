"""The benign model reads every suspect and says what it really is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir.run.run import Run
from elixir.stages.base import Columns, MapStage


@dataclass
class RelabelStage(MapStage):
    """Its own label back means a false alarm, another label a poisoned sample, no clear answer quarantine.

    The benign model sees the raw image and its purified draw; their mean probability decides.

    Args:
        confidence: smallest probability of a new label; below it the sample is undecided.
    """

    name = "relabel"
    confidence: float = 0.5

    def rows(self, run: Run) -> np.ndarray:
        return run.readable_rows()[run.columns("refine")["suspect"]]

    def process(self, run: Run, rows: np.ndarray) -> Columns:
        given = run.labels[rows]
        with run.network():
            raw, _ = run.classify("benign", run.pixels.read(rows))
            purified, _ = run.classify("benign", run.purified.read(run.positions(rows)))
        probability = (np.exp(raw) + np.exp(purified)) / 2
        label = probability.argmax(1)
        best = probability.max(1)
        verdict = np.where(label == given, "benign", np.where(best < self.confidence, "undecided", "poisoned"))
        return {
            "label": label.astype(np.int16),
            "confidence": best.astype(np.float32),
            "verdict": verdict.astype(object),
        }
