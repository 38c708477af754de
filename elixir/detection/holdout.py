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


@dataclass(frozen=True)
class HeldOut:
    """Samples whose labels count as right and what a model that has not seen them reads in them.

    Attributes:
        logp: log-probabilities, float32 (m, k); they may be mapped from a file.
        label: int64 (m,).
    """

    logp: np.ndarray
    label: np.ndarray
    thresholds: Thresholds

    def mislabeled_fraction(self, logp: np.ndarray, label: int) -> tuple[float, float]:
        """Lower bound of the mislabeled fraction of a group of one label, of which the model has seen nothing either.

        Bounded adjusted classify-and-count (Forman 2008): the model sees another label in a group with mislabeled
        fraction f in a share f * P(right) + P(wrong). P(right) is measured on samples of other labels as if they had
        this one, P(wrong) on all as they are, so f >= (lower(share) - upper(wrong)) / upper(right).

        Args:
            logp: of the group, float32 (n, k), n >= 1.

        Returns:
            The bound, in [0,1]; 0 if P(right) is below `min_holdout_skill`. And the share.
        """
        another = self._another(logp, np.full(len(logp), label))
        others = self.label != label
        right = self._another(self.logp, np.full(len(self.logp), label))[others]
        if not len(right) or right.mean() < self.thresholds.min_holdout_skill:
            return 0.0, float(another.mean())
        excess = max(0.0, _lower(another, self.thresholds) - self._wrong)
        return min(1.0, excess / _upper(right, self.thresholds)), float(another.mean())

    @cached_property
    def _wrong(self) -> float:
        """Upper bound of P(wrong)."""
        return _upper(self._another(self.logp, self.label), self.thresholds)

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
