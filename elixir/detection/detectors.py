"""Detectors: each proposes, for one label, a group of samples that may be poisoned, with a direct score."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np

from elixir.detection.alarm_rate import PATTERN, TRANSFER, Usual
from elixir.detection.evidence import Candidate, Evidence
from elixir.detection.holdout import excess_disagreement
from elixir.detection.shared_trigger import SharedTrigger
from elixir.detection.spectrum import Moments, bands, spectral_split
from elixir.detection.unseen_label import UnseenLabel
from elixir.randomness import Draw, generator


class Detector(Protocol):
    """One kind of evidence that a label is under attack.

    Attributes:
        usual: which of its scores benign labels show; None if it decides nothing.
    """

    name: ClassVar[str]
    usual: ClassVar[Usual | None]

    def propose(self, evidence: Evidence, label: int, members: np.ndarray) -> Candidate:
        """The group of the label's samples, `members` (int64), that this evidence points at."""
        ...


class Joint:
    """Samples that show both a trigger that transfers and disagreement with their label.

    score = max(mean trigger_transfer, group_transfer) * mean label_disagreement, over the group.
    """

    name: ClassVar[str] = "joint"
    usual: ClassVar[Usual | None] = TRANSFER

    def propose(self, evidence: Evidence, label: int, members: np.ndarray) -> Candidate:
        scores, thresholds = evidence.scores, evidence.thresholds
        mean = (scores.trigger_transfer_of(members) + scores.label_disagreement_of(members)) / 2
        posterior = evidence.seeded_group(members, mean > thresholds.seed_threshold)
        group = evidence.group(members, posterior)
        if len(group) < thresholds.min_group_size:
            return Candidate(self.name, members, posterior)
        carried = float(scores.trigger_transfer_of(group).mean())
        disagreement = float(scores.label_disagreement_of(group).mean())
        common = evidence.group_transfer(label, group)
        found = {"trigger_transfer": carried, "group_transfer": common, "label_disagreement": disagreement}
        return Candidate(self.name, members, posterior, max(carried, common) * disagreement, found)


class LabelDisagreement:
    """Samples whose label held-out models do not see, for triggers that differ in every image.

    score = excess_disagreement * sqrt(share of the label). It decides nothing: hard benign samples disagree as well.
    """

    name: ClassVar[str] = "label_disagreement"
    usual: ClassVar[Usual | None] = None

    def propose(self, evidence: Evidence, label: int, members: np.ndarray) -> Candidate:
        disagrees, thresholds = evidence.scores.disagrees, evidence.thresholds
        posterior = evidence.seeded_group(members, disagrees[members])
        group = evidence.group(members, posterior)
        if len(group) < thresholds.min_group_size:
            return Candidate(self.name, members, posterior)
        excess = excess_disagreement(disagrees[group], np.delete(disagrees, group), thresholds)
        share = len(group) / len(members)
        found = {"disagrees": float(disagrees[group].mean()), "excess_disagreement": excess, "share": share}
        return Candidate(self.name, members, posterior, excess * share**0.5, found)


class SpectralSplit:
    """A pattern that part of a label's images carries, for triggers that survive purification on right labels.

    score = difference_transfer * separation of the two groups. No seeds are needed.
    """

    name: ClassVar[str] = "spectral_split"
    usual: ClassVar[Usual | None] = PATTERN

    def __init__(self, evidence: Evidence) -> None:
        everything = np.arange(len(evidence.scores.label))
        pixels, thresholds = evidence.probe.pixels, evidence.thresholds
        self._moments = [Moments.of(band, pixels, everything) for band in bands(thresholds)]

    def propose(self, evidence: Evidence, label: int, members: np.ndarray) -> Candidate:
        thresholds = evidence.thresholds
        fold = generator(evidence.seed, Draw.SPLIT, label).permutation(len(members)) % 2
        split = spectral_split(evidence.probe.pixels, members, self._moments, fold, thresholds).clear(thresholds)
        inside = split.posterior > thresholds.min_posterior
        if min(inside.sum(), (~inside).sum()) < thresholds.min_group_size:
            return Candidate(self.name, members, np.zeros(len(members)))
        more = evidence.difference_transfer(label, members[inside], members[~inside])
        found = {"separation": split.separation, "difference_transfer": more}
        return Candidate(self.name, members, split.posterior, more * split.separation, found)


def detectors(evidence: Evidence) -> Sequence[Detector]:
    """All of them, in the order in which they are asked."""
    of_samples, split = (Joint(), LabelDisagreement()), SpectralSplit(evidence)
    if not evidence.is_informed:
        return *of_samples, split
    return *of_samples, SharedTrigger(evidence), split, UnseenLabel(evidence)
