"""Whose label changes under purification, and which labels are under attack (DataElixir, steps 3 and 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from elixir.data.columns import Columns
from elixir.detection.accusation import accusation
from elixir.detection.discrepancy import published, repaired
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.settings import Count


@dataclass
class TransitionsStage(ReduceStage):
    """Anomalous samples of a label under attack are the suspects.

    Args:
        tau: candidates that the second most common label needs to count; fewer are isolated flips.
        rule: "repaired" or "published", see `elixir.detection.discrepancy`.
        minimum: anomalous samples without which the repaired rule says nothing about a label.
    """

    name = "transitions"
    tau: Count = 5
    rule: Literal["repaired", "published"] = "repaired"
    minimum: Count = 10

    def needs(self) -> tuple[str, ...]:
        return ("candidates",)

    def reduce(self, run: Run) -> Columns:
        given = run.labels[run.readable_rows()]
        predicted = run.column("candidates", "predicted")
        found = label_transitions(predicted, self.tau)
        own, total, samples = pooled_predictions(predicted, found, given, len(run.classes))
        discrepancy = published(own, total) if self.rule == "published" else repaired(own, total, samples, self.minimum)
        suspect = found.anomalous & discrepancy.flagged[given]
        run.findings["targets"] = [
            accusation(
                run.classes,
                int(label),
                discrepancy.confidence[label],
                (suspect & (given == label)).sum(),
                "discrepancy",
                {
                    "discrepancy": np.nan_to_num(discrepancy.metric[label]),
                    "deviations": np.nan_to_num(discrepancy.score[label]),
                    "anomalous": samples[label],
                },
            )
            for label in np.flatnonzero(discrepancy.flagged)
        ]
        changed = (found.kept[:, 1:] & (predicted[:, 1:] != given[:, None])).sum(1) / found.kept[:, 1:].sum(1)
        return {
            "suspect": suspect,
            "single": found.single,
            "label": found.majority,
            "suspicion": np.where(suspect, changed, 0).astype(np.float32),
        }


@dataclass(frozen=True)
class Transitions:
    """What the predictions of n samples, for the raw image and its c candidates, say.

    Attributes:
        kept: which predictions are no isolated flips, bool (n, 1 + c); the raw image's is always kept.
        anomalous: more than one label left, the raw image's included, bool (n,).
        single: one label left among the candidates, bool (n,).
        majority: most common label of the candidates, the smallest of equals, int32 (n,).
    """

    kept: np.ndarray
    anomalous: np.ndarray
    single: np.ndarray
    majority: np.ndarray


def label_transitions(predicted: np.ndarray, tau: int) -> Transitions:
    """Drop isolated flips: where the second most common label has fewer than `tau` candidates, all but the majority's.

    Args:
        predicted: labels of the raw image and of the candidates, int32 (n, 1 + c).
        tau: see above.
    """
    kept = np.ones(predicted.shape, bool)
    majority = np.empty(len(predicted), np.int32)
    for index, candidates in enumerate(predicted[:, 1:]):
        labels, counts = np.unique(candidates, return_counts=True)
        majority[index] = labels[counts.argmax()]
        if len(labels) > 1 and np.sort(counts)[-2] < tau:
            kept[index, 1:] = candidates == majority[index]
    anomalous = (kept & (predicted != predicted[:, :1])).any(1)
    single = ~(kept[:, 1:] & (predicted[:, 1:] != majority[:, None])).any(1)
    return Transitions(kept, anomalous, single, majority)


def pooled_predictions(
    predicted: np.ndarray, found: Transitions, given: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each training label, over its anomalous samples: kept predictions that equal it, all kept ones, and samples.

    Args:
        predicted: int32 (n, 1 + c).
        found: of the same samples.
        given: training labels, int64 (n,).
        classes: number of labels k.

    Returns:
        Three arrays (k,).
    """
    kept = found.kept & found.anomalous[:, None]
    own = np.bincount(given, (kept & (predicted == given[:, None])).sum(1), classes)
    total = np.bincount(given, kept.sum(1), classes)
    return own, total, np.bincount(given, found.anomalous, classes)
