"""Whose label changes under purification, and which labels are under attack (DataElixir, steps 3 and 4)."""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from elixir.data.columns import Columns
from elixir.detection.discrepancy import published, repaired
from elixir.detection.not_judged import too_few_samples, with_reasons
from elixir.detection.reports import LabelReport, LabelTest
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.settings import Count, Positive


@dataclass
class TransitionsStage(ReduceStage):
    """Flags the anomalous samples of a label under attack.

    Args:
        tau: candidates that the second most common label needs to count; fewer are isolated flips.
        rule: "repaired" or "published", see `elixir.detection.discrepancy`.
        published_threshold: robust deviations from which the published rule flags a label.
        repaired_threshold: likewise of the repaired rule.
        min_deviation: smallest robust deviation of the repaired rule, in nats, as labels that hardly differ must not
            raise alarms.
        minimum: anomalous samples without which the repaired rule says nothing about a label.
    """

    name = "transitions"
    requires = ("predicted",)
    provides = ("labels", "flagged", "unanimous", "majority_label", "poison_score")
    effort = 60
    tau: Count = 5
    rule: Literal["repaired", "published"] = "repaired"
    published_threshold: Positive = 2.0
    repaired_threshold: Positive = 3.5
    min_deviation: Positive = 0.1
    minimum: Count = 10

    def reduce(self, run: Run) -> Columns:
        given, predicted = run.labels, run["predicted"]
        found = label_transitions(predicted, self.tau)
        matching, total, samples = pooled_predictions(predicted, found, given, len(run.classes))
        if self.rule == "published":
            discrepancy = published(matching, total, self.published_threshold)
        else:
            discrepancy = repaired(matching, total, samples, self.minimum, self.repaired_threshold, self.min_deviation)
        is_flagged = found.anomalous & discrepancy.flagged[given]
        reports = []
        for label in np.unique(given).tolist():
            measured = discrepancy.metric, discrepancy.score, discrepancy.confidence
            metric, deviations, score = (float(np.nan_to_num(of_labels[label])) for of_labels in measured)
            passed, evidence = bool(discrepancy.flagged[label]), {"discrepancy": metric, "deviations": deviations}
            test = LabelTest("discrepancy", "discrepancy", int(samples[label]), score, passed, evidence)
            decided_by = test if passed else None
            reports.append(LabelReport(label, run.classes[label], int((given == label).sum()), (test,), decided_by))
        reasons = too_few_samples(given, run.thresholds)
        run.facts["labels"] = [asdict(report) for report in with_reasons(reports, reasons)]
        changed = (found.kept[:, 1:] & (predicted[:, 1:] != given[:, None])).sum(1) / found.kept[:, 1:].sum(1)
        return {
            "flagged": is_flagged,
            "unanimous": found.unanimous,
            "majority_label": found.majority,
            "poison_score": np.where(is_flagged, changed, 0).astype(np.float32),
        }


@dataclass(frozen=True)
class Transitions:
    """What the predictions of n samples, for the raw image and its c candidates, say.

    Attributes:
        kept: which predictions are no isolated flips, bool (n, 1 + c); the raw image's is always kept.
        anomalous: more than one label left, the raw image's included, bool (n,).
        unanimous: one label left among the candidates, bool (n,).
        majority: most common label of the candidates, the smallest of equals, int32 (n,).
    """

    kept: np.ndarray
    anomalous: np.ndarray
    unanimous: np.ndarray
    majority: np.ndarray


def label_transitions(predicted: np.ndarray, tau: int) -> Transitions:
    """Drop isolated flips: where the second most common label has fewer than `tau` candidates, all but the majority's.

    Labels predicted for the raw image and the candidates are int32 (n, 1 + c).
    """
    kept = np.ones(predicted.shape, bool)
    majority = np.empty(len(predicted), np.int32)
    for index, candidates in enumerate(predicted[:, 1:]):
        labels, counts = np.unique(candidates, return_counts=True)
        majority[index] = labels[counts.argmax()]
        if len(labels) > 1 and np.sort(counts)[-2] < tau:
            kept[index, 1:] = candidates == majority[index]
    anomalous = (kept & (predicted != predicted[:, :1])).any(1)
    unanimous = ~(kept[:, 1:] & (predicted[:, 1:] != majority[:, None])).any(1)
    return Transitions(kept, anomalous, unanimous, majority)


def pooled_predictions(
    predicted: np.ndarray, found: Transitions, given: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each given label, over its anomalous samples: kept predictions that equal it, all kept ones, and samples.

    Three arrays (k,), k being the number of classes.
    """
    kept = found.kept & found.anomalous[:, None]
    matching = np.bincount(given, (kept & (predicted == given[:, None])).sum(1), classes)
    total = np.bincount(given, kept.sum(1), classes)
    return matching, total, np.bincount(given, found.anomalous, classes)
