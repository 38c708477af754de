"""Which labels are never cleared."""

import numpy as np
import pytest

from elixir.detection.not_judged import judge, too_few_samples, with_reasons
from elixir.detection.reports import LabelReport, LabelTest
from elixir.detection.thresholds import Thresholds

THRESHOLDS = Thresholds()
LEAST = 2 * THRESHOLDS.min_group_size


def test_a_label_needs_room_for_a_group_and_as_many_benign_samples():
    given = np.repeat([0, 2, 3], [LEAST, LEAST - 1, LEAST])
    assert too_few_samples(given, THRESHOLDS) == {2: f"fewer than {LEAST} samples"}


def test_a_label_is_judged_beside_others_only():
    alone = np.repeat([0, 1], [500, LEAST - 1])
    reasons = too_few_samples(alone, THRESHOLDS)
    assert reasons == {0: f"no other label with {LEAST} samples or more", 1: f"fewer than {LEAST} samples"}
    assert set(too_few_samples(np.zeros(500, int), THRESHOLDS)) == {0}
    assert not too_few_samples(np.repeat([0, 1], LEAST), THRESHOLDS)


def test_a_label_under_attack_stays_that_whatever_models_know():
    test = LabelTest("joint", "direct", 12, 0.6, True)
    reports = [LabelReport(0, "attacked", 40, (test,), test), LabelReport(1, "rare", 12), LabelReport(2, "none", 40)]
    given = np.repeat(range(3), [40, 12, 40])
    known_well = judge(reports, given, given, THRESHOLDS)
    assert [report.not_judged[:16] for report in known_well] == ["", "fewer than 20 sa", ""]
    unknown_set = judge(reports, given, given[::-1], THRESHOLDS)
    assert [report.not_judged[:16] for report in unknown_set] == ["", "fewer than 20 sa", "models know too "]
    assert known_well[0] == unknown_set[0] == reports[0]


def test_a_rare_label_may_be_under_attack():
    test = LabelTest("joint", "direct", 12, 0.6, True)
    reports = [LabelReport(0, "a", 12), LabelReport(1, "b", 12, (test,), test), LabelReport(2, "c", 40)]
    told = with_reasons(reports, {0: "few", 1: "few"})
    assert [report.not_judged for report in told] == ["few", "", ""]
    assert told[1:] == tuple(reports[1:])


@pytest.mark.parametrize(
    ("score", "group", "reason"),
    [(0.07, 30, ""), (0.07, 31, "fewer than 20 samples beside a group that looks odd"), (0.06, 31, "")],
)
def test_a_doubtful_group_that_leaves_too_little_of_its_label_cannot_be_judged(score: float, group: int, reason: str):
    tests = LabelTest("joint", "direct", group, score, False), LabelTest("spectral_split", "direct", 45, 0.01, False)
    given = np.repeat([0, 1], 50)
    told = judge([LabelReport(0, "doubtful", 50, tests), LabelReport(1, "other", 50)], given, given, THRESHOLDS)
    assert [report.not_judged for report in told] == [reason, ""]
