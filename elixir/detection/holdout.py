"""What models that have not seen a group say of it: shares of its samples, with binomial bounds."""

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


def mislabeled_fraction(other_label: np.ndarray, right: np.ndarray, wrong: np.ndarray, thresholds: Thresholds) -> float:
    """Lower bound of the mislabeled fraction of a group, by a model that has seen none of it.

    Bounded adjusted classify-and-count (Forman 2008): of a group with mislabeled fraction f the model confidently gives
    another label to f * P(right) + P(wrong), where both are measured on other samples that it has not seen. So
    f >= (lower(other_label) - upper(wrong)) / upper(right).

    Args:
        other_label: whether the model is confident of another label than the group's, bool (n,), n >= 1.
        right: whether it is confident of the label of an unseen other sample, bool (m,).
        wrong: whether it is confident of another label than that, bool (m,).

    Returns:
        In [0,1]; 0 if P(right) is below `min_holdout_skill`.
    """
    if not len(right) or right.mean() < thresholds.min_holdout_skill:
        return 0.0
    excess = max(0.0, _lower(other_label, thresholds) - _upper(wrong, thresholds))
    return min(1.0, excess / _upper(right, thresholds))


def holdout_split(
    label: np.ndarray, withheld: np.ndarray, fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Divide all samples that are not withheld into those that the held-out model learns and those that measure it.

    Returns:
        Indices seen, ascending, and unseen, a `fraction` of each label, by label; int64.
    """
    order = rng.permutation(np.setdiff1d(np.arange(len(label)), withheld))
    of_label = [order[label[order] == one] for one in np.unique(label)]
    unseen = np.concatenate([own[: int(fraction * len(own))] for own in of_label])
    return np.setdiff1d(order, unseen), unseen


def _lower(flags: np.ndarray, thresholds: Thresholds) -> float:
    return binomial_lower(int(flags.sum()), len(flags), 1 - thresholds.confidence_level)


def _upper(flags: np.ndarray, thresholds: Thresholds) -> float:
    return binomial_upper(int(flags.sum()), len(flags), 1 - thresholds.confidence_level)
