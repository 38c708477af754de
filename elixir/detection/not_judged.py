"""Which labels cannot be judged: too few samples, or models that know too little. Such a label is never cleared."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from elixir.detection.decide import LabelReport, LabelTest
from elixir.detection.shared_trigger import SharedTrigger
from elixir.detection.thresholds import Thresholds
from elixir.statistics import binomial_lower

Reasons = dict[int, str]  # label -> why it cannot be judged


def judge(
    reports: Iterable[LabelReport], given: np.ndarray, seen: np.ndarray, thresholds: Thresholds
) -> tuple[LabelReport, ...]:
    """The reports, with the reasons of labels that could not be judged; one under attack stays that, but for one case.

    Where models know too little of the set, that they see another label says nothing: a label that a held-out model has
    put under attack, or what samples with denied labels share, is not judged either.

    Args:
        given: label of every sample, int64 (n,), n >= 1.
        seen: label that models see in it which have not learned from it, (n,).
    """
    ignorance = too_little_known(given, seen, thresholds)
    reasons = dict.fromkeys(np.unique(given).tolist(), ignorance) if ignorance else unknown(given, seen, thresholds)
    kept = [
        replace(report, decided_by=None)
        if ignorance and report.decided_by and _by_knowledge(report.decided_by)
        else report
        for report in reports
    ]
    return with_reasons(kept, reasons | too_few_beside(kept, thresholds) | too_few_samples(given, thresholds))


def _by_knowledge(test: LabelTest) -> bool:
    """Whether a test is worth what held-out models know."""
    return test.kind == "holdout" or test.detector == SharedTrigger.name


def with_reasons(reports: Iterable[LabelReport], reasons: Reasons) -> tuple[LabelReport, ...]:
    """The reports, with the reasons of those that could not be judged; a label under attack stays that."""
    return tuple(
        report if report.decided_by else replace(report, not_judged=reasons.get(report.label, "")) for report in reports
    )


def too_few_samples(given: np.ndarray, thresholds: Thresholds) -> Reasons:
    """Labels that have no room for a group of poisoned samples beside as many benign ones, and a label without others.

    Args:
        given: label of every sample, int64 (n,).
    """
    least = thresholds.min_label_size
    labels, samples = np.unique(given, return_counts=True)
    reasons = dict.fromkeys(labels[samples < least].tolist(), f"fewer than {least} samples")
    enough = labels[samples >= least].tolist()
    return (
        reasons if len(enough) > 1 else reasons | dict.fromkeys(enough, f"no other label with {least} samples or more")
    )


def too_few_beside(reports: Iterable[LabelReport], thresholds: Thresholds) -> Reasons:
    """Labels with a doubtful group beside which too few samples are left for a model without the group to know them."""
    least, reasons = thresholds.min_label_size, {}
    for report in reports:
        best, is_doubtful = report.best_direct, report.direct_score >= thresholds.candidate_threshold
        if best and is_doubtful and report.samples - best.group_size < least:
            reasons[report.label] = f"fewer than {least} samples beside a group that looks odd"
    return reasons


def too_little_known(given: np.ndarray, seen: np.ndarray, thresholds: Thresholds) -> str:
    """Why no label can be judged, as models know too little of the set: their evidence is noise; "" if they do not."""
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
