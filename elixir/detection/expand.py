"""From the group that put a label under attack to all its members."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from elixir.detection.decide import EXPANDED, NOISE_SENSITIVITY, SPLIT, Detection
from elixir.detection.detectors import Joint
from elixir.detection.evidence import Evidence
from elixir.detection.grouping import lda_1d, self_train, self_train_with_score
from elixir.detection.shared_trigger import SharedTrigger
from elixir.detection.unseen_label import UnseenLabel


@dataclass(frozen=True)
class Expansion:
    """How the group of one detector grows.

    Attributes:
        self_train: whether it is learned anew by features, until it is stable.
        score: the score of `SampleScores` that joins the features in this, None for features alone.
        grow: whether recognizers of the images then let samples join, see `_grow`.
    """

    self_train: bool = False
    score: Literal["trigger_transfer", "confidence_drop"] | None = None
    grow: bool = False


EXPANSIONS = {
    Joint.name: Expansion(self_train=True, score="trigger_transfer", grow=True),
    EXPANDED: Expansion(self_train=True, grow=True),
    NOISE_SENSITIVITY: Expansion(self_train=True, score="confidence_drop", grow=True),
    SPLIT: Expansion(grow=True),
    UnseenLabel.name: Expansion(self_train=True, grow=True),
    SharedTrigger.name: Expansion(),  # no learned assignment is more exact
}
"""By the detector whose test decided."""


def expand(evidence: Evidence, found: Detection) -> np.ndarray:
    """Poison score of every sample, float64 (n,) in [0,1].

    In labels that are not under attack it is the posterior times the label's direct score.
    """
    label = evidence.scores.label
    deciding = {report.label: report.decided_by.detector for report in found.reports if report.decided_by}
    split = np.isin(label, [one for one, detector in deciding.items() if detector == SPLIT])
    weight = np.zeros(label.max(initial=-1) + 1)
    for report in found.reports:
        weight[report.label] = 1.0 if report.decided_by else report.direct_score
    score = np.where(split, found.split_posterior, found.posterior).astype(np.float64) * weight[label]
    how = {one: EXPANSIONS[detector] for one, detector in deciding.items()}
    members = {one: evidence.scores.members(one) for one in deciding}
    for one, own in members.items():
        score[own] = _self_trained(evidence, how[one], own, score[own])
    _grow(evidence, {one: own for one, own in members.items() if how[one].grow}, score)
    return score


def _self_trained(evidence: Evidence, how: Expansion, members: np.ndarray, posterior: np.ndarray) -> np.ndarray:
    features = evidence.scores.features_of(members)
    if not how.self_train:
        return posterior
    if how.score is None:
        return self_train(features, posterior, evidence.seed, evidence.thresholds)
    score = getattr(evidence.scores, how.score)[members].astype(np.float32)
    return self_train_with_score(features, score, posterior, evidence.seed, evidence.thresholds)


def flagged(evidence: Evidence, found: Detection, score: np.ndarray) -> np.ndarray:
    """Samples of attacked labels whose poison score is above `flag_threshold`, bool (n,)."""
    attacked = [report.label for report in found.reports if report.decided_by]
    return np.isin(evidence.scores.label, attacked) & (score > evidence.thresholds.flag_threshold)


def _grow(evidence: Evidence, members: Mapping[int, np.ndarray], score: np.ndarray) -> None:
    """Let samples join that recognizers of the images take for members of the group, while many do.

    What looks to the reference model like a typical image of the label is missed by its features. A classifier for
    which the group is a class of its own has to tell it from the label by the trigger.
    """
    thresholds = evidence.thresholds
    for number in range(thresholds.recognizer_rounds):
        groups = _learnable(evidence, members, score > thresholds.flag_threshold)
        joined = 0
        for label, log_odds in evidence.probe.recognizer_log_odds(number, groups).items():
            own = members[label]
            inside = score[own] > thresholds.min_posterior
            seen = np.maximum(score[own], lda_1d(log_odds[own], inside, thresholds))
            joined += int(((seen > thresholds.flag_threshold) & (score[own] <= thresholds.flag_threshold)).sum())
            score[own] = seen
        if joined <= thresholds.max_change * sum(map(len, groups.values())):
            break


def _learnable(evidence: Evidence, members: Mapping[int, np.ndarray], chosen: np.ndarray) -> dict[int, np.ndarray]:
    """The chosen samples of every label, where they and the rest of the label are enough to learn from."""
    least = evidence.thresholds.lda_folds
    groups = {label: members[label][chosen[members[label]]] for label in sorted(members)}
    return {label: group for label, group in groups.items() if least <= len(group) <= len(members[label]) - least}
