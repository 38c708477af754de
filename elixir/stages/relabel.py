"""The benign model reads every suspect and says what it really is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from elixir.data.columns import Columns
from elixir.detection.reading import benign_reading
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.settings import Range


@dataclass
class RelabelStage(MapStage):
    """Its own label back means a false alarm, another label a poisoned sample, no clear answer quarantine.

    Nor is it clear what a sample is that the refine stage is sure about, when the benign model gives it its own label;
    unless the attack has left the labels as they were (clean-label, see the trigger stage): then such a sample is
    poisoned and keeps its label, and one with another label is not clear. Where all samples of a label are suspects
    nothing is clear, as the benign model has not learned that label.

    The benign model has not learned the trigger, but a trigger that covers the image disturbs its reading. So it reads
    the raw image less the estimated trigger of its label.

    Args:
        confidence: smallest probability of a new label; below it the sample is undecided.
        sure: suspicion from which the sample's own label is no answer.
    """

    name = "relabel"
    confidence: Annotated[float, Range(least=0, below=1)] = 0.5
    sure: Annotated[float, Range(least=0, below=1)] = 0.9

    def needs(self) -> tuple[str, ...]:
        return ("target", "refine", "benign")

    def rows(self, run: Run) -> np.ndarray:
        return run.readable_rows()[run.column("refine", "suspect")]

    def open(self, run: Run) -> None:
        self._suspicion = run.column("refine", "suspicion")
        self._learned = np.unique(run.labels[run.readable_rows()[~run.column("refine", "suspect")]])
        self._clean_label = [target["label"] for target in run.findings["targets"] if target.get("clean_label")]

    def process(self, run: Run, rows: np.ndarray) -> Columns:
        given = run.labels[rows]
        probability = benign_reading(run, rows, run.triggers)
        label = probability.argmax(1)
        best = probability.max(1)
        sure = self._suspicion[run.positions(rows)] > self.sure
        clean_label = np.isin(given, self._clean_label)
        verdict = np.where((best < self.confidence) | clean_label, "undecided", "poisoned").astype(object)
        verdict[label == given] = "benign"
        verdict[(label == given) & sure] = "undecided"
        verdict[(label == given) & sure & clean_label] = "poisoned"
        verdict[~np.isin(given, self._learned)] = "undecided"
        return {
            "label": label.astype(np.int32),
            "confidence": best.astype(np.float32),
            "verdict": verdict,
        }
