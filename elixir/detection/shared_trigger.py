"""The detector that looks at all labels together: one trigger, many targets."""

from typing import ClassVar

import numpy as np

from elixir.detection.alarm_rate import PATTERN, Usual
from elixir.detection.evidence import Candidate, Evidence
from elixir.detection.grouping import qda_1d
from elixir.detection.spectrum import Split, otsu_split
from elixir.detection.thresholds import Thresholds
from elixir.detection.trigger import Benign, filtered, matched_filter


class SharedTrigger:
    """A pattern that samples with denied labels have in common with those of other labels: one trigger, many targets.

    The samples that held-out models take for others differ from benign ones of these others, on average, by content
    that cancels out and by the trigger. Through the filter that is matched to this difference the samples of an
    attacked label fall into two groups. It is learned from half of the labels and applied to the other, so that images
    that are alike and hard in one label say nothing.

    score = separation * excess, by how much more of the group is denied than of the others. Where all labels together
    fall into two groups by themselves it is the excess of these, less where the label's group is denied less often:
    covers, which keep their labels, have none.
    """

    name: ClassVar[str] = "shared_trigger"
    usual: ClassVar[Usual | None] = PATTERN

    def __init__(self, evidence: Evidence) -> None:
        scores, thresholds = evidence.scores, evidence.thresholds
        self._match = _matches(evidence)
        self._everywhere = _more(self._match, thresholds)
        inside = self._everywhere.posterior > thresholds.min_posterior
        self._excess, self._denied = _excess(scores.disagrees, inside), _share(scores.disagrees[inside])
        self._is_certain = evidence.is_rare(PATTERN.surprise(self._everywhere.separation * self._excess))

    def propose(self, evidence: Evidence, label: int, members: np.ndarray) -> Candidate:
        thresholds, everywhere = evidence.thresholds, self._everywhere
        split = _more(self._match[members], thresholds)
        if everywhere.separation > split.separation:
            split = Split(everywhere.posterior[members], everywhere.separation)
        inside = split.posterior > thresholds.min_posterior
        if inside.sum() < (thresholds.min_split_side if self._is_certain else thresholds.min_group_size):
            return Candidate(self.name, members, np.zeros(len(members)))
        denied = evidence.scores.disagrees[members]
        less_often = min(1.0, _share(denied[inside]) / self._denied)
        excess = self._excess * less_often if self._is_certain else _excess(denied, inside)
        found = {"separation": split.separation, "excess_disagreement": excess}
        return Candidate(self.name, members, split.posterior, split.separation * excess, found)


def _excess(denied: np.ndarray, inside: np.ndarray) -> float:
    """Share of the group, `inside` (bool, (n,)), that is denied (likewise) beyond that of the others, at least 0."""
    others = denied[~inside]
    return max(0.0, _share(denied[inside]) - (float(others.mean()) if len(others) else 0.0))


def _share(denied: np.ndarray) -> float:
    """How many are denied; groups may be small, so by the rule of succession."""
    return float((denied.sum() + 1) / (len(denied) + 2))


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

    It counts from what benign samples show of the label that is given or that models see, whichever is more.
    """
    scores, thresholds, pixels, half = evidence.scores, evidence.thresholds, evidence.probe.pixels, evidence.half
    is_denied = scores.disagrees & (scores.seen != scores.label)
    rest = np.flatnonzero(~is_denied)
    benign = Benign(pixels, rest, scores.label[rest], thresholds.variance_inflation)
    match = np.zeros(len(half), np.float32)
    for one in (0, 1):
        learned, here = np.flatnonzero(is_denied & (half != one)), np.flatnonzero(half == one)
        weights = matched_filter(benign, learned, scores.seen[learned], thresholds.fast_ridge * 255**2)
        given, seen = scores.label[here], scores.seen[here]
        usual = np.zeros(max(scores.label.max(), scores.seen.max()) + 1)
        labels = np.union1d(given, seen)
        usual[labels] = benign.usual(labels, weights)
        match[half == one] = filtered(pixels, here, weights) - np.maximum(usual[given], usual[seen])
    return match
