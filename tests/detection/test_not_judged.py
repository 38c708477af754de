"""What is never cleared: labels of few samples, and those of which models know too little."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from elixir.detection.decide import LabelReport, LabelTest
from elixir.detection.not_judged import (
    judge,
    label_skill,
    set_skill,
    too_few_samples,
    too_little_known,
    unknown,
    with_reasons,
)
from elixir.detection.thresholds import Thresholds

THRESHOLDS = Thresholds()
LEAST = 2 * THRESHOLDS.min_group_size


def known(given: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """What models see that know a share of the labels, and of the rest guess evenly."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(given)) < share, given, rng.integers(0, given.max() + 1, len(given)))


def test_a_label_needs_room_for_a_group_and_as_many_benign_samples():
    given = np.repeat([0, 2, 3], [LEAST, LEAST - 1, LEAST])
    assert too_few_samples(given, THRESHOLDS) == {2: f"fewer than {LEAST} samples"}


def test_a_label_is_judged_beside_others_only():
    alone = np.repeat([0, 1], [500, LEAST - 1])
    reasons = too_few_samples(alone, THRESHOLDS)
    assert reasons == {0: f"no other label with {LEAST} samples or more", 1: f"fewer than {LEAST} samples"}
    assert set(too_few_samples(np.zeros(500, int), THRESHOLDS)) == {0}
    assert not too_few_samples(np.repeat([0, 1], LEAST), THRESHOLDS)


@pytest.mark.parametrize("labels", [2, 10])
@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_skill_is_what_is_known_beyond_chance(labels: int, share: float):
    given = np.repeat(np.arange(labels), 20000 // labels)
    seen = known(given, share)
    skill = [label_skill(given == label, seen == label, 0.5) for label in range(labels)]
    assert skill == pytest.approx([share] * labels, abs=0.03)
    assert set_skill(given, seen, 0.5) == pytest.approx(share, abs=0.02)


def test_skill_is_that_of_the_textbook():
    given, seen = np.repeat([0, 0, 1, 1], [20, 5, 10, 15]), np.repeat([0, 1, 0, 1], [20, 5, 10, 15])
    assert set_skill(given, seen, 0.5) == pytest.approx(cohen_kappa_score(given, seen), abs=0.03)  # 0.4
    assert set_skill(given, seen, 0.05) < 0.2
    assert label_skill(given == 0, seen == 0, 0.5) == pytest.approx(20 / 25 - 10 / 25, abs=0.03)


def test_with_one_label_there_is_nothing_to_know():
    assert set_skill(np.zeros(30, int), np.zeros(30, int), 0.05) == 0
    assert label_skill(np.ones(30, bool), np.ones(30, bool), 0.05) < 0


def test_models_that_always_see_the_largest_label_know_nothing():
    given = np.repeat([0, 1], [950, 50])
    assert "they name 95% of the labels of samples that they have not seen, 95% by chance" in too_little_known(
        given, np.zeros(1000, int), THRESHOLDS
    )
    assert not too_little_known(given, given, THRESHOLDS)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("labels", "each"), [(2, LEAST), (2, 150), (10, 30), (43, LEAST)])
def test_random_labels_are_never_judged(labels: int, each: int, seed: int):
    given = np.repeat(np.arange(labels), each)
    assert too_little_known(given, known(given, 0, seed), THRESHOLDS)
    assert not too_little_known(given, known(given, 0.9, seed), THRESHOLDS)


def test_one_label_that_models_do_not_know_among_others_that_they_do():
    given = np.repeat(np.arange(10), 60)
    seen = known(given, 0.9)
    seen[given == 4] = (np.arange(60) % 9 + 5) % 10
    assert not too_little_known(given, seen, THRESHOLDS)
    assert set(unknown(given, seen, THRESHOLDS)) == {4}


def test_a_label_under_attack_stays_that_unless_a_held_out_model_decides_that_knows_nothing():
    direct, held_out = (LabelTest("joint", kind, 12, 0.6, True) for kind in ("direct", "holdout"))
    shared = LabelTest("shared_trigger", "direct", 12, 0.6, True)
    reports = [
        LabelReport(0, "direct", 40, (direct,), direct),
        LabelReport(1, "held out", 40, (held_out,), held_out),
        LabelReport(2, "rare", 12, (held_out,), held_out),
        LabelReport(3, "none", 40),
        LabelReport(4, "shared", 40, (shared,), shared),
    ]
    given = np.repeat(range(5), [40, 40, 12, 40, 40])
    assert judge(reports, given, given, THRESHOLDS) == tuple(reports)
    told = judge(reports, given, given[::-1], THRESHOLDS)
    assert told[0] == reports[0]
    assert not any(report.decided_by for report in told[1:])
    assert [report.not_judged[:16] for report in told] == [
        "",
        "models know too ",
        "fewer than 20 sa",
        "models know too ",
        "models know too ",
    ]
    assert [report.tests for report in told] == [report.tests for report in reports]


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
    tests = LabelTest("joint", "direct", group, score, False), LabelTest("trigger_transfer", "direct", 45, 0.01, False)
    given = np.repeat([0, 1], 50)
    told = judge([LabelReport(0, "doubtful", 50, tests), LabelReport(1, "other", 50)], given, given, THRESHOLDS)
    assert [report.not_judged for report in told] == [reason, ""]
