"""What models know of a set and of each of its labels that have not learned from the samples they are shown."""

import numpy as np

from elixir.detection.thresholds import Thresholds
from elixir.statistics import binomial_lower

Reasons = dict[int, str]  # label -> why it cannot be judged


def too_little_known(given: np.ndarray, seen: np.ndarray, thresholds: Thresholds) -> str:
    """Why no label can be judged, as models know too little of the set: their evidence is noise; "" if they do not.

    Args:
        given: label of every sample, int64 (n,), n >= 1.
        seen: label that models see in it which have not learned from it, (n,).
    """
    if set_skill(given, seen, 1 - thresholds.confidence_level) >= thresholds.min_skill:
        return ""
    right = f"{np.mean(given == seen):.0%} of the labels of samples that they have not seen"
    return f"models know too little, they name {right}, {_chance(given, seen):.0%} by chance"


def unknown(given: np.ndarray, seen: np.ndarray, thresholds: Thresholds) -> Reasons:
    """Labels that models do not know, though they know others."""
    labels, alpha = np.unique(given).tolist(), 1 - thresholds.confidence_level
    skill = [label_skill(given == label, seen == label, alpha) for label in labels]
    few = [label for label, one in zip(labels, skill, strict=True) if one < thresholds.min_label_skill]
    return dict.fromkeys(few, "models know this label too little")


def set_skill(given: np.ndarray, seen: np.ndarray, alpha: float) -> float:
    """Cohen's kappa (1960) of the labels given to samples and seen in them, both (n,): 0 by chance, 1 where all agree.

    So as not to be taken in by luck, the share that agrees is its lower bound, with confidence 1 - alpha.
    """
    agreement, chance = binomial_lower(int((given == seen).sum()), len(given), alpha), _chance(given, seen)
    return (agreement - chance) / (1 - chance) if chance < 1 else 0.0


def label_skill(own: np.ndarray, seen: np.ndarray, alpha: float) -> float:
    """Youden's J (1950): the share of a label's samples in which it is seen, a lower bound, minus that of all others.

    Args:
        own: which of all samples have the label, bool (n,), some of them.
        seen: in which it is seen, bool (n,).
        alpha: the bound has the confidence 1 - alpha.
    """
    others = float(seen[~own].mean()) if not own.all() else 1.0
    return binomial_lower(int(seen[own].sum()), int(own.sum()), alpha) - others


def _chance(given: np.ndarray, seen: np.ndarray) -> float:
    """The share that would agree if what is seen had nothing to do with what is given."""
    most = max(given.max(), seen.max()) + 1
    return float(np.bincount(given, minlength=most) @ np.bincount(seen, minlength=most)) / len(given) ** 2
