"""What models that have not seen a group say of it: shares of its samples, with binomial bounds."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from elixir.detection.thresholds import Thresholds
from elixir.statistics import binomial_lower, binomial_upper


def excess_disagreement(group: np.ndarray, others: np.ndarray, thresholds: Thresholds) -> float:
    """Lower bound of the group's share of disagreeing samples minus the share of the others, at least 0.

    Models that have learned little disagree everywhere, so the others' share is subtracted; a small group shows little,
    so its lower bound counts.

    Args:
        group: whether the held-out models disagree with the label, bool (n,), n >= 1.
        others: the same for all other samples, bool (m,).
    """
    return max(0.0, _lower(group, thresholds) - (float(others.mean()) if len(others) else 0.0))


def taken(label: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Samples of others in which models see each label, int64 (k,).

    Args:
        label: given label, int64 (n,), n >= 1.
        seen: by models that have not learned from the sample, (n,).
    """
    most = max(label.max(), seen.max()) + 1
    return np.bincount(seen, minlength=most) - np.bincount(label[seen == label], minlength=most)


@dataclass(frozen=True)
class HeldOut:
    """Samples whose labels count as right and what a model that has not seen them reads in them.

    Attributes:
        logp: log-probabilities, float32 (m, k); they may be mapped from a file.
        label: int64 (m,).
        denied: whether models that have seen others of their label do not see it either, bool (m,).
    """

    logp: np.ndarray
    label: np.ndarray
    denied: np.ndarray
    thresholds: Thresholds

    def mislabeled_fraction(self, logp: np.ndarray, label: int, denied: np.ndarray) -> tuple[float, float]:
        """Lower bound of the mislabeled fraction of a group of one label, of which the model has seen nothing either.

        Bounded adjusted classify-and-count (Forman 2008): the model sees another label in a group with mislabeled
        fraction f in a share f * P(right) + (1 - f) * P(wrong), so

            f >= (lower(share) - upper(wrong)) / (upper(right) - upper(wrong)).

        Both are measured on samples of other labels: P(right) as if they had this one, P(wrong) as they are. A group
        of samples that are denied is one of hard samples, so P(wrong) is that of as many denied ones: label noise and
        labels that are hard to tell apart make it high everywhere.

        Args:
            logp: of the group, float32 (n, k), n >= 1.
            denied: likewise, bool (n,).

        Returns:
            The bound, in [0,1]; 0 if P(right) is not `min_holdout_skill` above P(wrong). And the share.
        """
        another, others = self._another(logp, np.full(len(logp), label)), self.label != label
        share = float(another.mean())
        if not others.any():
            return 0.0, share
        right = _upper(self._another(self.logp, np.full(len(self.logp), label))[others], self.thresholds)
        wrong = self._wrong(others, float(denied.mean()))
        if right - wrong < self.thresholds.min_holdout_skill:
            return 0.0, share
        return float(np.clip((_lower(another, self.thresholds) - wrong) / (right - wrong), 0, 1)), share

    def _wrong(self, some: np.ndarray, denied_share: float) -> float:
        """Upper bound of P(wrong) of samples such as some, bool (m,), of which that share is denied.

        Where hardly any is denied, it is that of all.
        """
        denied, others = self._mistaken[some & self.denied], self._mistaken[some & ~self.denied]
        if min(len(denied), len(others)) < self.thresholds.min_group_size:
            return _upper(self._mistaken[some], self.thresholds)
        of_denied, of_others = _upper(denied, self.thresholds), _upper(others, self.thresholds)
        return denied_share * of_denied + (1 - denied_share) * of_others

    @cached_property
    def _mistaken(self) -> np.ndarray:
        """In which samples the model sees another label than theirs, bool (m,)."""
        return self._another(self.logp, self.label)

    def _another(self, logp: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Whether the model sees another label j in samples, as surely as in those of label j; bool (n,).

        A benign sample that is hard is taken for one of label j as well, but with more doubts than these. So the margin
        log p_j - log p_given must exceed that of a share `min_typicality` of the held-out samples of label j (a
        conformal test, Vovk et al. 2005).
        """
        seen = logp.argmax(1)
        another = np.zeros(len(logp), bool)
        for j, label in {*zip(seen.tolist(), given.tolist(), strict=True)}:
            own = np.flatnonzero(self.label == j)
            if j == label or not len(own):
                continue
            least = np.quantile(self.logp[own, j] - self.logp[own, label], self.thresholds.min_typicality)
            chosen = (seen == j) & (given == label)
            another[chosen] = logp[chosen, j] - logp[chosen, label] >= least
        return another


def holdout_split(
    label: np.ndarray, withheld: np.ndarray, fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Divide all samples that are not withheld into those that the held-out model learns and those that measure it.

    Returns:
        Indices seen, ascending, and unseen, a `fraction` of each label, by label; int64.
    """
    rest = np.ones(len(label), bool)
    rest[withheld] = False
    order = rng.permutation(np.flatnonzero(rest))
    of_label = [order[label[order] == one] for one in np.unique(label)]
    unseen = np.concatenate([own[: int(fraction * len(own))] for own in of_label])
    rest[unseen] = False
    return np.flatnonzero(rest), unseen


def _lower(flags: np.ndarray, thresholds: Thresholds) -> float:
    return binomial_lower(int(flags.sum()), len(flags), 1 - thresholds.confidence_level)


def _upper(flags: np.ndarray, thresholds: Thresholds) -> float:
    return binomial_upper(int(flags.sum()), len(flags), 1 - thresholds.confidence_level)
