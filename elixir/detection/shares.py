"""What models that have not seen a group say of it as a whole: a share, and how far so few samples can be trusted."""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest

DENIED = 0.2  # probability of its label below which a sample is denied it
SURE = 0.8  # probability of a label from which a model is sure of it
KNOWING = 0.25  # share of unseen samples whose label a model must be sure of to judge others


def denied_beyond(group: np.ndarray, others: np.ndarray) -> float:
    """How much more of a group is denied its label than of the other samples, in [0,1].

    Models that have learned little, from few images or of hard labels, deny it everywhere, and a small group shows
    little: of the group's share counts the lower bound at 95 %.

    Args:
        group: whether its samples are denied, bool (n,), n >= 1.
        others: likewise, (m,).
    """
    return max(0.0, least_share(group) - (float(others.mean()) if len(others) else 0.0))


def foreign_share(sure_of_another: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> float:
    """Which share of a group are samples of other labels, by what a model says that has seen none of it.

    It is as sure of their labels as it is of those of other samples that it has not seen, right or wrong; samples that
    do belong to the group's label it mistakes for another as often as those. So of a group with the foreign share s it
    is sure of another label for s * `right` + `wrong`. What speaks against the group counts with its lower bound at
    95 %, what speaks for it with its upper one.

    Args:
        sure_of_another: whether the model is sure that a sample has another label than the group's, bool (n,), n >= 1.
        right: whether it is sure of the label that an unseen other sample has, bool (m,).
        wrong: whether it is sure of one that such a sample does not have, bool (m,).

    Returns:
        In [0,1]; 0 by a model that is rarely sure and right (`KNOWING`), for it knows too little.
    """
    if not len(right) or right.mean() < KNOWING:
        return 0.0
    return min(1.0, max(0.0, least_share(sure_of_another) - most_share(wrong)) / most_share(right))


def least_share(flags: np.ndarray) -> float:
    """Lower bound at 95 % of the share that bool (n,), n >= 1, is a sample of (Clopper-Pearson)."""
    return float(binomtest(int(flags.sum()), len(flags), alternative="greater").proportion_ci(0.95).low)


def most_share(flags: np.ndarray) -> float:
    """Upper bound; see `least_share`."""
    return 1 - least_share(~flags)
