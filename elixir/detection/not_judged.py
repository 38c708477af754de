"""Which labels cannot be judged: too few samples, or models that know too little. Such a label is never cleared."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from elixir.detection.decide import LabelReport
from elixir.detection.thresholds import Thresholds
from elixir.statistics import binomial_lower

Reasons = dict[int, str]  # label -> why it cannot be judged


def with_reasons(reports: Iterable[LabelReport], reasons: Reasons) -> tuple[LabelReport, ...]:
    """The reports, with the reasons of those that cannot be judged; a label under attack stays that."""
    return tuple(
        report if report.decided_by else replace(report, not_judged=reasons.get(report.label, "")) for report in reports
    )


def too_few_samples(given: np.ndarray, thresholds: Thresholds) -> Reasons:
    """Labels that have no room for a group of poisoned samples beside as many benign ones, and a label without others.

    Args:
        given: label of every sample, int64 (n,).
    """
    least = 2 * thresholds.min_group_size
    labels, samples = np.unique(given, return_counts=True)
    reasons = {label: f"fewer than {least} samples" for label in labels[samples < least].tolist()}
    enough = labels[samples >= least].tolist()
    return reasons if len(enough) > 1 else reasons | dict.fromkeys(enough, f"no other label with {least} samples or more")


def too_little_known(given: np.ndarray, seen: np.ndarray, thresholds: Thresholds) -> Reasons:
    """Labels that models do not know, or all where these know too little altogether: their evidence is noise.

    Args:
        given: label of every sample, int64 (n,).
        seen: that held-out models see in it, (n,).
    """
    skill = {label: label_skill(given == label, seen == label) for label in np.unique(given).tolist()}
    mean = float(np.mean([*skill.values()]))
    if mean < thresholds.min_skill:
        why = f"models know too little of the set: skill {mean:.2f}, {thresholds.min_skill:g} is needed"
        return dict.fromkeys(skill, why)
    least = thresholds.min_label_skill
    return {label: f"models do not know this label" for label, one in skill.items() if one < least}


def label_skill(own: np.ndarray, seen: np.ndarray) -> float:
    """How much more often models see a label in its own samples than in others (Youden's J); 0 by chance, 1 at best.

    Args:
        own: which of all samples have the label, bool (n,).
        seen: in which it is seen, bool (n,).
    """
    if own.all():
        return 0.0
    return float(seen[own].mean() - seen[~own].mean())
