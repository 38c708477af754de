"""Detectors: each proposes, for one label, a group of samples that may be poisoned, with a direct score."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
import torch
from scipy.special import logit

from elixir.detection.grouping import EPSILON, crossval_lda, qda_1d, self_train_step
from elixir.detection.holdout import excess_disagreement
from elixir.detection.probe import GroupProbe
from elixir.detection.scores import SampleScores
from elixir.detection.spectrum import Moments, Split, bands, otsu_split, spectral_split
from elixir.detection.thresholds import Thresholds
from elixir.detection.trigger import Benign, filtered, matched_filter, mean_image, mean_residual
from elixir.randomness import Draw, generator


@dataclass(frozen=True)
class Candidate:
    """What one detector proposes for one label.

    Attributes:
        members: indices of the label's samples, int64 (n,).
        posterior: of belonging to the group, float64 (n,) in [0,1].
        score: direct score, in [0,1].
        evidence: what the score rests on, by name.
    """

    detector: str
    members: np.ndarray
    posterior: np.ndarray
    score: float = 0.0
    evidence: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """All that detectors look at, of all samples."""

    scores: SampleScores
    probe: GroupProbe
    thresholds: Thresholds
    seed: int

    def seeded_group(self, members: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Posterior of each member, float64 (n,), learned from which of them are seeds, bool (n,)."""
        return crossval_lda(self.scores.features_of(members), seeds, ~seeds, self.seed, self.thresholds)

    def group(self, members: np.ndarray, posterior: np.ndarray) -> np.ndarray:
        """Indices of the members that belong to a group."""
        return members[posterior > self.thresholds.min_posterior]

    def group_transfer(self, label: int, group: np.ndarray) -> float:
        """Probability of the label on carriers that receive what purification takes away from a group on average."""
        residual = mean_residual(self.probe.pixels, self.probe.purified, group)
        return self.probe.transfer(label, self.thresholds.residual_gain * residual)

    def difference_transfer(self, label: int, group: np.ndarray, rest: np.ndarray) -> float:
        """Probability of the label on carriers that receive what a group has more than the rest of the label.

        Its root mean square is `max_trigger_rms` at most; without a rest it is nothing.
        """
        pixels, loudest = self.probe.pixels, self.thresholds.max_trigger_rms
        if not len(rest):
            return self.probe.transfer(label, torch.zeros(pixels.shape))
        difference = mean_image(pixels, group) - mean_image(pixels, rest)
        rms = float(difference.square().mean().sqrt())
        return self.probe.transfer(label, difference * min(1.0, loudest / max(rms, 1e-9)))


class Detector(Protocol):
    """One kind of evidence that a label is under attack.

    Attributes:
        decides: whether its score may put a label under attack; if not, a held-out model has to agree.
    """

    name: ClassVar[str]
    decides: ClassVar[bool]

    def propose(self, evidence: Evidence, label: int, members: np.ndarray) -> Candidate:
        """The group of the label's samples, `members` (int64), that this evidence points at."""
        ...


class Joint:
    """Samples that show both a trigger that transfers and disagreement with their label.

    score = max(mean trigger_transfer, group_transfer) * mean label_disagreement, over the group.
    """

    name: ClassVar[str] = "joint"
    decides: ClassVar[bool] = True

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


class TriggerTransfer:
    """A trigger that transfers, on images whose label is right.

    score = max(group_transfer, sqrt(mean trigger_transfer * difference_transfer) * separation of the posteriors); the
    second is for triggers of which purification takes away little.
    """

    name: ClassVar[str] = "trigger_transfer"
    decides: ClassVar[bool] = True

    def propose(self, evidence: Evidence, label: int, members: np.ndarray) -> Candidate:
        scores, thresholds = evidence.scores, evidence.thresholds
        seeded = evidence.seeded_group(members, scores.trigger_transfer_of(members) > thresholds.seed_threshold)
        posterior = self_train_step(scores.features_of(members), seeded, evidence.seed, thresholds)
        group = evidence.group(members, posterior)
        if len(group) < thresholds.min_group_size:
            return Candidate(self.name, members, posterior)
        carried = float(scores.trigger_transfer_of(group).mean())
        common = evidence.group_transfer(label, group)
        more = evidence.difference_transfer(label, group, np.setdiff1d(members, group))
        separation = otsu_split(logit(posterior.clip(EPSILON, 1 - EPSILON)), 0.0, thresholds).separation
        found = {"trigger_transfer": carried, "group_transfer": common}
        found |= {"difference_transfer": more, "separation": separation}
        return Candidate(self.name, members, posterior, max(common, (carried * more) ** 0.5 * separation), found)


class LabelDisagreement:
    """Samples whose label held-out models do not see, for triggers that differ in every image.

    score = excess_disagreement * sqrt(share of the label). It decides nothing: hard benign samples disagree as well.
    """

    name: ClassVar[str] = "label_disagreement"
    decides: ClassVar[bool] = False

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


class SharedTrigger:
    """A pattern that samples with denied labels have in common with those of other labels: one trigger, many targets.

    The samples that held-out models take for others differ from benign ones of these others, on average, by content
    that cancels out and by the trigger. Through the filter that is matched to this difference the samples of an
    attacked label fall into two groups. It is learned from half of the labels and applied to the other, so that images
    that are alike and hard in one label say nothing.

    They fall into two in each label, or in all labels together, where a label has few.

    score = separation * mean label_disagreement, over the group.
    """

    name: ClassVar[str] = "shared_trigger"
    decides: ClassVar[bool] = True

    def __init__(self, evidence: Evidence) -> None:
        labels, of_label = np.unique(evidence.scores.label, return_inverse=True)
        half = generator(evidence.seed, Draw.LABEL_HALVES).permutation(len(labels))[of_label] % 2
        self._match = np.zeros(len(half), np.float32)
        for here in (half == 0, half == 1):
            self._match[here] = _matches(evidence, ~here)[here]
        self._everywhere = _more(self._match, evidence.thresholds)

    def propose(self, evidence: Evidence, label: int, members: np.ndarray) -> Candidate:
        thresholds, everywhere = evidence.thresholds, self._everywhere
        split = _more(self._match[members], thresholds)
        if everywhere.separation > split.separation:
            split = Split(everywhere.posterior[members], everywhere.separation)
        certain = everywhere.separation >= thresholds.min_score
        least = thresholds.min_split_side if certain else thresholds.min_group_size
        group = evidence.group(members, split.posterior)
        if len(group) < least:
            return Candidate(self.name, members, np.zeros(len(members)))
        disagreement = float(evidence.scores.label_disagreement_of(group).mean())
        found = {"separation": split.separation, "label_disagreement": disagreement}
        return Candidate(self.name, members, split.posterior, split.separation * disagreement, found)


def _more(match: np.ndarray, thresholds: Thresholds) -> Split:
    """The group of samples that show more of something, (n,), than the others do; zeros if they are too few to tell."""
    if len(match) < 2 * thresholds.min_group_size:
        return Split(np.zeros(len(match)), 0.0)
    values = match.astype(np.float64) - match.mean(dtype=np.float64)
    split = otsu_split(values, -values.min(), thresholds)
    if not split.separation:
        return Split(np.zeros(len(match)), 0.0)
    return Split(qda_1d(values, split.posterior > thresholds.min_posterior, thresholds), split.separation)


def _matches(evidence: Evidence, learned: np.ndarray) -> np.ndarray:
    """How much all samples show of what the denied ones of some, bool (n,), have in common; float64 (n,).

    It counts from what benign samples show of the label that is given or that models see, whichever is more.
    """
    scores, thresholds, pixels = evidence.scores, evidence.thresholds, evidence.probe.pixels
    is_denied = scores.disagrees & (scores.seen != scores.label)
    denied, rest = np.flatnonzero(is_denied & learned), np.flatnonzero(~is_denied)
    benign = Benign(pixels, rest, scores.label[rest], thresholds.variance_inflation)
    weights = matched_filter(benign, denied, scores.seen[denied], thresholds.fast_ridge * 255**2)
    match = filtered(pixels, len(scores.label), weights)
    count = max(scores.label.max(), scores.seen.max()) + 1
    total, of = (np.bincount(scores.label[rest], values, count) for values in (match[rest], None))
    usual = total / np.maximum(of, 1)
    return match - np.maximum(usual[scores.label], usual[scores.seen])


class SpectralSplit:
    """A pattern that part of a label's images carries, for triggers that survive purification on right labels.

    score = difference_transfer * separation of the two groups. No seeds are needed.
    """

    name: ClassVar[str] = "spectral_split"
    decides: ClassVar[bool] = True

    def __init__(self, evidence: Evidence) -> None:
        everything = np.arange(len(evidence.scores.label))
        pixels, thresholds = evidence.probe.pixels, evidence.thresholds
        self._moments = [Moments.of(band, pixels, everything) for band in bands(thresholds)]

    def propose(self, evidence: Evidence, label: int, members: np.ndarray) -> Candidate:
        thresholds = evidence.thresholds
        fold = generator(evidence.seed, Draw.SPLIT, label).permutation(len(members)) % 2
        split = spectral_split(evidence.probe.pixels, members, self._moments, fold, thresholds)
        inside = split.posterior > thresholds.min_posterior
        if min(inside.sum(), (~inside).sum()) < thresholds.min_group_size or not split.separation:
            return Candidate(self.name, members, np.zeros(len(members)))
        more = evidence.difference_transfer(label, members[inside], members[~inside])
        found = {"separation": split.separation, "difference_transfer": more}
        return Candidate(self.name, members, split.posterior, more * split.separation, found)


def detectors(evidence: Evidence) -> Sequence[Detector]:
    """All of them, in the order in which they are asked."""
    return Joint(), TriggerTransfer(), LabelDisagreement(), SharedTrigger(evidence), SpectralSplit(evidence)
