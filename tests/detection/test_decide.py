"""Doubtful labels before a model that has not seen their groups."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeProbe
from scipy.stats import binomtest

from elixir.detection.alarm_rate import false_alarms
from elixir.detection.decide import Detection, confirm
from elixir.detection.evidence import Evidence
from elixir.detection.reports import LabelReport, LabelTest
from elixir.detection.scores import SampleScores
from elixir.detection.thresholds import Thresholds

COUNT = 120
MISLABELED = 40
every = np.arange(2 * COUNT)


def confirmed(
    *,
    poisoned: bool,
    score: float,
    attacked: tuple[int, ...] = (),
    sure: float = 0.95,
    contrary: tuple[int, ...] = (),
    apart: int = MISLABELED,
    grey: str = "",
    split: tuple[int, int] = (0, 0),
    drifted: bool = False,
    likely: int = 0,
    losing: tuple[int, int] = (0, 0),
    certain: int = 0,
    taken: int = 0,
    learned: bool = False,
    surprise: float = 0.0,
    alarm_rate: float = 0.01,
    min_skill: float = 0.01,
) -> tuple[LabelReport, FakeProbe]:
    """The report of the second of two labels; its last samples lie apart, and most of them or all are in its group.

    Args:
        poisoned: whether the held-out model takes those for the first label.
        score: direct score of the second label.
        attacked: labels that a direct score has put under attack.
        sure: the model's probability of the label that it sees.
        contrary: last digits of samples that the model takes for the other label.
        apart: how many lie apart; of more than `MISLABELED` all are in the group.
        grey: what the model has its doubts about: "group", those apart, or "others", one in two of the others.
        split: group of a clear spectral split, the first and the one after the last.
        drifted: of those that lie apart the ones outside the group are benign.
        likely: benign samples of the second label that are in the group, as they lie half-way to those apart.
        losing: samples that lose their label with a little noise, the first and the one after the last.
        certain: samples of the first label that are in its group.
        taken: samples of the first label in which cross-fitted models see the second; in those that lie apart, if they
            are poisoned, they see the first, and in all others the label.
        learned: they have learned the trigger, and see the label in these too.
        surprise: of the direct tests of the second label.
        alarm_rate, min_skill: thresholds of that name.
    """
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], COUNT)
    away = every >= 2 * COUNT - apart
    features = rng.normal(0, 1, (2 * COUNT, 8)) + np.where(away[:, None], [6, *[0] * 7], [0, 6, *[0] * 6])
    half_way = (label == 1) & (every < COUNT + likely)
    features[half_way, :2] = rng.normal(3, 1, (likely, 2))
    group = half_way | away & ((every % 4 > (1 if drifted else 0)) | (apart > MISLABELED))
    group |= every < certain
    foreign = (label == 1) & (group if drifted else away) & poisoned
    second = (label == 1) & ~foreign ^ np.isin(every % 10, contrary)
    doubtful = {"": False & away, "group": away, "others": ~away & (every % 2 == 0)}[grey]
    probability = np.where(second, 1, -1) * (np.where(doubtful, 0.7, sure) - 0.5) + 0.5
    logp = np.log(np.stack([1 - probability, probability], 1))
    probe = FakeProbe(log_probabilities=lambda indices: logp[indices])
    scores = SampleScores(
        label,
        features.astype(np.float32),
        trigger_transfer=np.zeros(2 * COUNT),
        label_disagreement=np.zeros(2 * COUNT),
        disagrees=np.zeros(2 * COUNT, bool),
        seen=np.where(every < taken, 1, np.where(foreign & (not learned), 0, label)),
        confidence_drop=1 - np.exp(-np.where(_between(losing), 3, 0.1)),
    )
    reports = []
    for one, name in enumerate(("first", "second")):
        test = LabelTest("joint", "direct", 0, score if one == 1 else 0.0, one in attacked)
        test = replace(test, counts_as="transfer", surprise=surprise * one)
        reports.append(LabelReport(one, name, COUNT, (test,), test if one in attacked else None))
    found = Detection(
        tuple(reports),
        np.where(group, 0.9, 0.001).astype(np.float32),
        np.where(_between(split), 0.99, 0).astype(np.float32),
    )
    thresholds = Thresholds(alarm_rate=alarm_rate, min_skill=min_skill)
    first, report = confirm(Evidence(scores, probe, thresholds, seed=0), found)
    assert bool(first.decided_by) == (0 in attacked)
    assert report.tests[0] == reports[1].tests[0]
    return report, probe


def _between(limits: tuple[int, int]) -> np.ndarray:
    return (every >= limits[0]) & (every < limits[1])


def fractions(report: LabelReport) -> Mapping[str, float]:
    """Mislabeled fraction of each group that was tested."""
    return {test.detector: test.score for test in report.tests if test.kind == "holdout"}


def decided(report: LabelReport) -> LabelTest:
    assert report.decided_by is not None
    assert report.decided_by in report.tests
    return report.decided_by


def test_a_group_of_another_label_is_an_attack():
    report, probe = confirmed(poisoned=True, score=0.15)
    test = decided(report)
    assert (test.detector, test.kind, test.group_size) == ("expanded", "holdout", MISLABELED)
    # all of 40 are sure to be of the first class, so at least 93 %; of 24 such others none is mistaken, so at most 12 %
    wrong = 1 - 0.05 ** (1 / 24)
    assert test.score == pytest.approx((0.05 ** (1 / MISLABELED) - wrong) / (1 - wrong), abs=1e-4)
    assert test.evidence["other_label"] == 1
    assert test.evidence["share"] == pytest.approx(MISLABELED / COUNT, abs=1e-4)
    first, second = probe.seen
    seeds, others = np.flatnonzero((every >= 2 * COUNT - MISLABELED) & (every % 4 > 0)), 2 * COUNT - MISLABELED
    assert not set(first) & set(seeds)
    assert len(set(second)) == len(second) == round(0.8 * others)
    assert second.max() < others  # nothing of the group has been seen, whether it was a seed or not


def test_seeds_alone_decide_nothing():
    report, _ = confirmed(poisoned=True, score=0.15, drifted=True)
    assert fractions(report)["expanded"] < 0.5 < fractions(report)["seed"]
    (seed,) = (test for test in report.tests if test.detector == "seed")
    assert (seed.surprise, seed.counts_as, report.decided_by) == (0, "", None)


@pytest.mark.parametrize("poisoned", [True, False])
def test_a_group_with_benign_samples_in_it_is_reduced_to_those_that_noise_robs_of_their_label(poisoned: bool):
    report, _ = confirmed(poisoned=poisoned, score=0.15, likely=30, losing=(2 * COUNT - MISLABELED, 2 * COUNT))
    found = fractions(report)
    if not poisoned:
        assert not any(found.values())
        assert report.decided_by is None
        return
    assert max(found["seed"], found["expanded"]) < 0.5 < found["noise_sensitivity"]
    assert (decided(report).detector, decided(report).group_size) == ("noise_sensitivity", MISLABELED)
    assert decided(report).score == found["noise_sensitivity"]


def test_benign_samples_that_are_only_hard_go_free():
    report, probe = confirmed(poisoned=False, score=0.15)
    assert report.decided_by is None
    assert set(fractions(report).values()) == {0}
    assert len(probe.seen) == 1


def test_samples_that_look_like_others_but_not_surely_go_free():
    report, _ = confirmed(poisoned=True, score=0.15, grey="group")
    assert set(fractions(report).values()) == {0}
    assert report.decided_by is None


def test_a_model_that_is_sure_of_a_half_is_not_wrong_about_the_other():
    report, _ = confirmed(poisoned=True, score=0.15, grey="others")
    assert report.decided_by is not None


def test_it_does_not_matter_how_sure_a_model_is_if_it_is_right():
    report, _ = confirmed(poisoned=True, score=0.15, sure=0.55)
    assert report.decided_by is not None


def test_a_model_that_guesses_finds_nothing():
    report, _ = confirmed(poisoned=True, score=0.15, contrary=(0, 2, 4, 6, 8))
    assert report.decided_by is None
    assert set(fractions(report).values()) == {0}


@pytest.mark.parametrize(("contrary", "fraction"), [((0,), 0.75), ((0, 1), 0.5), ((0, 1, 2), 0.3)])
def test_a_model_that_is_often_wrong_is_believed_less(contrary: tuple[int, ...], fraction: float):
    report, _ = confirmed(poisoned=True, score=0.15, contrary=contrary)  # one in ten or more may be mistakes
    assert fractions(report)["seed"] == pytest.approx(fraction, abs=0.05)


@pytest.mark.parametrize(("direct", "attacked"), [(0.0, False), (2.0, False), (3.0, True)])
def test_direct_scores_and_a_held_out_model_count_together(direct: float, attacked: bool):
    report, _ = confirmed(poisoned=True, score=0.15, contrary=(0, 1, 2), surprise=direct, alarm_rate=0.001)
    best = max(test.surprise for test in report.tests if test.kind == "holdout")
    assert best > 0
    assert report.false_alarms == pytest.approx(false_alarms(direct + best, 2))
    assert (report.decided_by is not None) == attacked == (false_alarms(direct + best, 2) <= 0.001)


def test_models_that_know_too_little_of_a_set_are_not_asked_about_its_labels():
    report, probe = confirmed(poisoned=True, score=0.15, taken=90, min_skill=0.4)
    assert not probe.seen
    assert report.decided_by is None


@pytest.mark.parametrize(("taken", "attacked"), [(0, True), (25, True), (26, False), (60, False)])
def test_samples_that_a_label_loses_count_beyond_those_that_it_takes(taken: int, attacked: bool):
    report, _ = confirmed(poisoned=True, score=0.15, taken=taken)
    assert bool(report.decided_by) == attacked
    by_chance = binomtest(MISLABELED, MISLABELED + taken, alternative="greater").pvalue
    for test in (test for test in report.tests if test.kind == "holdout"):
        one_way = (MISLABELED - taken) / test.group_size if by_chance < 0.05 else 0
        assert test.evidence["one_way"] == pytest.approx(one_way)
        assert test.score <= test.evidence["one_way"]


@pytest.mark.parametrize("beside", [0, 19, 20])
def test_a_group_beside_which_a_model_can_learn_too_little_of_the_label_is_not_tested(beside: int):
    report, probe = confirmed(poisoned=True, score=0.15, apart=COUNT - beside)
    assert bool(probe.seen) == bool(fractions(report)) == (beside == 20)


@pytest.mark.parametrize(("score", "attacked"), [(0.04, ()), (0.15, (1,)), (0.4, (1,))])
def test_nothing_is_trained_without_doubt(score: float, attacked: tuple[int, ...]):
    report, probe = confirmed(poisoned=True, score=score, attacked=attacked)
    assert not probe.seen
    assert [test.detector for test in report.tests] == ["joint"]
    assert report.decided_by == (report.tests[0] if attacked else None)


def test_the_groups_of_attacked_labels_are_not_learned_either():
    report, probe = confirmed(poisoned=True, score=0.15, attacked=(0,), certain=20)
    assert report.decided_by is not None
    assert min(seen.min() for seen in probe.seen) >= 20


def test_a_clear_split_is_tested_whatever_the_score():
    start = 2 * COUNT - MISLABELED
    report, probe = confirmed(poisoned=True, score=0, split=(start, 2 * COUNT))
    assert (decided(report).detector, decided(report).kind) == ("spectral_split", "holdout")
    assert decided(report).group_size == MISLABELED
    (seen,) = probe.seen
    assert seen.max() < start


@pytest.mark.parametrize(("size", "detector"), [(20, "expanded"), (40, "spectral_split")])
def test_a_split_is_preferred_to_what_the_score_points_at_unless_it_is_a_part_of_it(size: int, detector: str):
    report, _ = confirmed(poisoned=True, score=0.15, split=(2 * COUNT - size, 2 * COUNT))
    assert decided(report).detector == detector


def test_of_what_cross_fitted_models_have_learned_only_a_split_speaks():
    start = 2 * COUNT - MISLABELED
    report, _ = confirmed(poisoned=True, score=0.15, learned=True)
    assert report.decided_by is None
    assert set(fractions(report).values()) == {0}
    report, _ = confirmed(poisoned=True, score=0.15, learned=True, split=(start, 2 * COUNT))
    assert decided(report).detector == "spectral_split"


def test_a_split_into_samples_of_the_label_does_not_hide_the_others():
    report, _ = confirmed(poisoned=True, score=0.15, split=(COUNT, COUNT + 20))
    assert (decided(report).detector, decided(report).group_size) == ("expanded", MISLABELED)


def test_a_benign_split_is_no_attack():
    report, _ = confirmed(poisoned=True, score=0, split=(COUNT, COUNT + 20))
    assert report.decided_by is None
    assert set(fractions(report).values()) == {0}


def test_few_samples_of_a_split_are_not_tested():
    report, probe = confirmed(poisoned=True, score=0, split=(2 * COUNT - 9, 2 * COUNT))
    assert fractions(report) == {}
    assert not probe.seen


def test_of_groups_that_pass_the_one_with_fewer_benign_samples_decides():
    start = 2 * COUNT - MISLABELED
    report, _ = confirmed(poisoned=True, score=0.15, likely=6, losing=(start, 2 * COUNT))
    shares = {test.detector: test.evidence["other_label"] for test in report.tests if test.kind == "holdout"}
    assert fractions(report)["seed"] > 0.5
    assert shares["seed"] < shares["noise_sensitivity"] == 1
    assert decided(report).detector == "noise_sensitivity"


@pytest.mark.parametrize(("contrary", "tested"), [((0, 1, 2), True), ((0, 1, 2, 3), False)])
def test_what_a_group_grows_to_is_tested_where_it_is_in_part_confirmed(contrary: tuple[int, ...], tested: bool):
    report, probe = confirmed(poisoned=True, score=0.15, contrary=contrary)
    assert (fractions(report)["seed"] >= 0.25) == tested == ("expanded" in fractions(report))
    assert fractions(report)["seed"] < 0.5
    assert len(probe.seen) == 1 + tested
