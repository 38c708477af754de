"""Which labels cannot be judged: too few samples, or models that know too little. Such a label is never cleared."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from elixir.detection.knowledge import Reasons, too_little_known, unknown
from elixir.detection.reports import LabelReport
from elixir.detection.thresholds import Thresholds


def judge(
    reports: Iterable[LabelReport], given: np.ndarray, seen: np.ndarray, thresholds: Thresholds
) -> tuple[LabelReport, ...]:
    """The reports, with the reasons of labels that could not be judged; one under attack stays that.

    Args:
        given: label of every sample, int64 (n,), n >= 1.
        seen: label that models see in it which have not learned from it, (n,).
    """
    kept, ignorance = list(reports), too_little_known(given, seen, thresholds)
    reasons = dict.fromkeys(np.unique(given).tolist(), ignorance) if ignorance else unknown(given, seen, thresholds)
    return with_reasons(kept, reasons | too_few_beside(kept, thresholds) | too_few_samples(given, thresholds))


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
