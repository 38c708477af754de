"""The benign model reads every suspect and says what it really is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from elixir.run.columns import Columns
from elixir.run.residual import triggers
from elixir.run.run import Run
from elixir.stages.base import MapStage

AT_ONCE = 1024


@dataclass
class RelabelStage(MapStage):
    """Its own label back means a false alarm, another label a poisoned sample, no clear answer quarantine.

    Nor is it clear what a sample is that the refine stage is sure about, when the benign model gives it its own label;
    unless it does so with most of these samples of the label: then the attack has left the labels as they were
    (clean-label), such a sample is poisoned and keeps its label, and one with another label is not clear.

    The benign model has not learned the trigger, but a trigger that covers the image disturbs its reading. So it reads
    the raw image less the estimated trigger of its label, and the mirror image of that too, if it has learned from
    mirrored ones.

    Args:
        confidence: smallest probability of a new label; below it the sample is undecided.
        sure: suspicion from which the sample's own label is no answer.
    """

    name = "relabel"
    confidence: float = 0.5
    sure: float = 0.9

    def rows(self, run: Run) -> np.ndarray:
        return run.readable_rows()[run.column("refine", "suspect")]

    def open(self, run: Run) -> None:
        self._suspicion = run.column("refine", "suspicion")
        self._triggers = triggers(run, self.rows(run))
        self._clean_label = {label for label in self._triggers if self._is_clean_label(run, label)}

    def process(self, run: Run, rows: np.ndarray) -> Columns:
        given = run.labels[rows]
        probability = self._read(run, rows)
        label = probability.argmax(1)
        best = probability.max(1)
        sure = self._suspicion[run.positions(rows)] > self.sure
        clean_label = np.isin(given, list(self._clean_label))
        verdict = np.where((best < self.confidence) | clean_label, "undecided", "poisoned").astype(object)
        verdict[label == given] = "benign"
        verdict[(label == given) & sure] = "undecided"
        verdict[(label == given) & sure & clean_label] = "poisoned"
        return {
            "label": label.astype(np.int16),
            "confidence": best.astype(np.float32),
            "verdict": verdict,
        }

    def _is_clean_label(self, run: Run, label: int) -> bool:
        rows = self.rows(run)
        rows = rows[(run.labels[rows] == label) & (self._suspicion[run.positions(rows)] > self.sure)]
        own = [
            self._read(run, rows[start : start + AT_ONCE]).argmax(1) == label for start in range(0, len(rows), AT_ONCE)
        ]
        return bool(own) and float(np.concatenate(own).mean()) > 0.5

    def _read(self, run: Run, rows: np.ndarray) -> np.ndarray:
        """Probability of each label by the benign model, (n, k)."""
        trigger = torch.stack([self._triggers[label] for label in run.labels[rows].tolist()])
        images = (run.pixels.read(rows).float() / 255 - trigger).clamp(0, 1)
        readings = [images, images.flip(-1)] if run.findings.get("mirrored") else [images]
        with run.network():
            return np.mean([np.exp(run.classify("benign", reading)[0]) for reading in readings], axis=0)
