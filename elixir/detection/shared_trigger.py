"""The detector that looks at all labels together: one trigger, many targets."""

from typing import ClassVar

import numpy as np
from scipy.special import betaln
from scipy.stats import beta

from elixir.detection.alarm_rate import PATTERN, Usual
from elixir.detection.evidence import Candidate, Evidence
from elixir.detection.grouping import qda_1d
from elixir.detection.spectrum import Split, otsu_split
from elixir.detection.thresholds import Thresholds
from elixir.detection.trigger import Benign, filtered, matched_filter
from elixir.statistics import binomial_upper


class SharedTrigger:
    """A pattern that samples with denied labels have in common with those of other labels: one trigger, many targets.

    The samples that held-out models take for others differ from benign ones of these others, on average, by content
    that cancels out and by the trigger. Through the filter that is matched to this difference the samples of an
    attacked label fall into two groups. It is learned from half of the labels and applied to the other, so that images
    that are alike and hard in one label say nothing.

    score = separation * excess, by how much more of the group is denied than of the others. Where all labels together
    fall into two groups by themselves and that is rare, they are the groups of every label, and score is that of all;
    covers, which keep their labels, have none.
    """

    name: ClassVar[str] = "shared_trigger"
    usual: ClassVar[Usual | None] = PATTERN

    def __init__(self, evidence: Evidence) -> None:
        denied = evidence.scores.disagrees
        self._match = _matches(evidence)
        self._everywhere = _more(self._match, evidence.thresholds)
        inside = self._everywhere.posterior > evidence.thresholds.min_posterior
        self._denied = denied[inside]
        """Whether samples of the group of all labels are denied."""
        self._excess = _excess(self._denied, denied[~inside])
        self._is_certain = evidence.is_rare(PATTERN.surprise(self._everywhere.separation * self._excess))

    def propose(self, evidence: Evidence, label: int, members: np.ndarray) -> Candidate:
        thresholds, denied = evidence.thresholds, evidence.scores.disagrees[members]
        if self._is_certain:
            split, least = self._everywhere.of(members), thresholds.min_split_side
        else:
            split, least = _more(self._match[members], thresholds), thresholds.min_group_size
        inside = split.posterior > thresholds.min_posterior
        group, others = denied[inside], denied[~inside]
        if len(group) < least:
            return Candidate(self.name, members, np.zeros(len(members)))
        if not self._is_certain:
            excess = _excess(group, others)
        else:
            excess = 0.0 if _are_covers(group, others, self._denied, thresholds) else self._excess
        found = {"separation": split.separation, "excess_disagreement": excess}
        return Candidate(self.name, members, split.posterior, split.separation * excess, found)


def _excess(group: np.ndarray, others: np.ndarray) -> float:
    """Share of a group that is denied, bool (n,), beyond that of the others, bool (m,), at least 0."""
    return max(0.0, _share(group) - (float(others.mean()) if len(others) else 0.0))


def _share(denied: np.ndarray) -> float:
    """How many are denied; groups may be small, so by the rule of succession."""
    return float((denied.sum() + 1) / (len(denied) + 2))


def _are_covers(group: np.ndarray, others: np.ndarray, poisoned: np.ndarray, thresholds: Thresholds) -> bool:
    """Whether a group is denied less often than one that is poisoned, and no more often than others of its label.

    Of the second by its Bayes factor: r^k (1 - r)^(n - k) at the share of the others, with k of n denied, against its
    mean over all r above it.

    Args:
        group: whether its samples are denied, bool (n,); likewise others (m,) and poisoned (l,).
    """
    denied, n, q = int(group.sum()), len(group), _share(others)
    a, b = denied + 1, n - denied + 1
    mean = betaln(a, b) + beta.logsf(q, a, b) - np.log1p(-q)
    as_others = denied * np.log(q) + (n - denied) * np.log1p(-q)
    return as_others > mean and binomial_upper(denied, n, 1 - thresholds.confidence_level) < _share(poisoned)


def _more(match: np.ndarray, thresholds: Thresholds) -> Split:
    """The group of samples that show more of something, (n,), than the others do; zeros if they are too few to tell."""
    if len(match) < thresholds.min_label_size:
        return Split(np.zeros(len(match)), 0.0)
    values = match.astype(np.float64) - match.mean(dtype=np.float64)
    split = otsu_split(values, -values.min(), thresholds).clear(thresholds)
    if not split.separation:
        return split
    return Split(qda_1d(values, split.posterior > thresholds.min_posterior, thresholds), split.separation)


def _matches(evidence: Evidence) -> np.ndarray:
    """How much all samples show of what the denied ones of the other half have in common, float32 (n,).

    It counts from what the median sample of the label shows.
    """
    scores, thresholds, pixels, half = evidence.scores, evidence.thresholds, evidence.probe.pixels, evidence.half
    is_denied = scores.disagrees & (scores.seen != scores.label)
    rest = np.flatnonzero(~is_denied)
    benign = Benign(pixels, rest, scores.label[rest], thresholds.variance_inflation)
    match = np.zeros(len(half), np.float32)
    for one in (0, 1):
        learned = np.flatnonzero(is_denied & (half != one))
        weights = matched_filter(benign, learned, scores.seen[learned], thresholds.fast_ridge * 255**2)
        for label in np.unique(scores.label[half == one]).tolist():
            members = scores.members(label)
            shown = filtered(pixels, members, weights)
            match[members] = shown - np.median(shown)
    return match
