"""The paper's label transitions and target rules, on tables small enough to work out by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from elixir.detection.discrepancy import CONSISTENCY, published, published_score, repaired, repaired_score
from elixir.errors import ElixirError
from elixir.result import Target
from elixir.stages.paper.transitions import TransitionsStage, label_transitions, pooled_predictions

# Raw prediction, then six candidates; tau = 2.
PREDICTED = np.array(
    [
        [1, 1, 1, 1, 1, 1, 1],  # one label throughout
        [1, 2, 2, 2, 2, 2, 2],  # a clean transition
        [1, 1, 1, 1, 1, 1, 2],  # one isolated flip
        [1, 1, 1, 1, 1, 2, 2],  # the second label is as common as tau
        [0, 2, 2, 2, 2, 3, 1],  # a transition with isolated flips
        [3, 2, 2, 2, 1, 1, 1],  # a tie
    ],
    np.int16,
)
GIVEN = np.array([1, 1, 1, 1, 0, 3])


def test_transition_rule() -> None:
    found = label_transitions(PREDICTED, tau=2)
    assert found.majority.tolist() == [1, 2, 1, 1, 2, 1]
    assert found.anomalous.tolist() == [False, True, False, True, True, True]
    assert found.single.tolist() == [True, True, True, False, True, False]
    assert found.kept.sum(1).tolist() == [7, 7, 6, 7, 5, 7]
    assert not found.kept[2, 6]
    assert found.kept[4].tolist() == [True, True, True, True, True, False, False]


def test_what_is_misread_throughout_is_no_suspect() -> None:
    """The reference model takes the sample for another label before and after: nothing has changed."""
    predicted = np.array([[1] * 7, *[[2] + [0] * 6] * 3, *[[index] * 7 for index in (0, 1, 3)]], np.int16)
    given = np.array([2, 2, 2, 2, 0, 1, 3])
    run: Any = SimpleNamespace(
        readable_rows=lambda: np.arange(7),
        labels=given,
        classes=list("abcd"),
        column=lambda stage, name: predicted,
        findings={},
    )
    found = TransitionsStage(tau=2, minimum=1).reduce(run)
    assert [target["name"] for target in run.findings["targets"]] == ["c"]
    assert found["suspect"].tolist() == [False, True, True, True, False, False, False]
    assert found["suspicion"].tolist() == [0, 1, 1, 1, 0, 0, 0]


def test_a_higher_tau_takes_more_flips_for_isolated() -> None:
    found = label_transitions(PREDICTED, tau=3)
    assert found.anomalous.tolist() == [False, True, False, False, True, True]
    assert found.kept[3].tolist() == [True, True, True, True, True, False, False]
    assert found.kept[5].all()


def test_predictions_are_pooled_over_the_anomalous_samples_of_a_label() -> None:
    own, total, samples = pooled_predictions(PREDICTED, label_transitions(PREDICTED, tau=2), GIVEN, classes=4)
    assert own.tolist() == [1, 1 + 5, 0, 1]
    assert total.tolist() == [5, 7 + 7, 0, 7]
    assert samples.tolist() == [1, 2, 0, 1]


def test_published_rule_by_hand() -> None:
    metric = np.array([1.0, 1.1, 1.2, 0.9, 3.0])
    found = published(np.exp(-metric), np.ones(5))
    assert found.metric == pytest.approx(metric)
    assert found.score == pytest.approx(np.array([0.1, 0, 0.1, 0.2, 1.9]) / (CONSISTENCY * 0.1))
    assert found.flagged.tolist() == [False, False, False, False, True]
    assert found.confidence[4] == pytest.approx(1)
    assert found.confidence[1] == 0


def test_published_rule_flags_labels_that_are_too_quiet_and_the_repaired_one_does_not() -> None:
    own, total = 1020 * np.exp(-np.array([1.0, 1.1, 1.2, 0.9, 0.1])), np.full(5, 1020.0)
    assert published(own, total).flagged.tolist() == [False, False, False, False, True]
    assert not repaired(own, total, np.full(5, 20), minimum=10).flagged.any()


def test_a_label_without_anomalous_samples_silences_the_published_rule() -> None:
    own, total = np.array([500.0, 510, 490, 0, 20]), np.array([1020.0, 1020, 1020, 0, 1020])
    found = published(own, total)
    assert np.isnan(found.score).all()
    assert not found.flagged.any()
    found = repaired(own, total, np.array([20, 20, 20, 0, 20]), minimum=10)
    assert found.flagged.tolist() == [False, False, False, False, True]


def test_labels_that_never_come_back_silence_the_published_rule_when_they_are_many() -> None:
    total = np.full(5, 1020.0)
    few = published(np.array([500.0, 510, 490, 505, 0]), total)
    assert few.score[4] == np.inf
    assert few.flagged.tolist() == [False, False, False, False, True]
    many = published(np.array([500.0, 510, 0, 0, 0]), total)
    assert np.isnan(many.score[2:]).all()
    assert not many.flagged.any()


def test_repaired_rule_by_hand() -> None:
    own, total = np.array([510.0] * 5 + [51]), np.full(6, 1020.0)
    found = repaired(own, total, np.full(6, 20), minimum=10)  # one sample more, of 51 predictions
    assert found.metric == pytest.approx([-np.log(561 / 1071)] * 5 + [-np.log(102 / 1071)])
    assert found.score[5] == pytest.approx(np.log(561 / 102) / 0.1)
    assert found.flagged.tolist() == [False] * 5 + [True]
    assert not repaired(own, total, np.full(6, 20), minimum=21).flagged.any()


def test_repaired_rule_without_any_anomalous_sample() -> None:
    found = repaired(np.zeros(4), np.zeros(4), np.zeros(4), minimum=1)
    assert found.score.tolist() == [0, 0, 0, 0]
    assert not found.flagged.any()


@pytest.mark.parametrize(("classes", "chance"), [(10, 0.52), (43, 0.84), (100, 0.97)])
def test_false_targets_of_the_published_rule(classes: int, chance: float) -> None:
    metrics = np.random.default_rng(0).normal(size=(2000, classes))
    rate = np.mean([(published_score(metric) > 2).any() for metric in metrics])
    assert rate == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / 2000) + 0.005)


@pytest.mark.parametrize(("classes", "chance"), [(10, 0.07), (43, 0.05), (100, 0.05)])
def test_false_targets_of_the_repaired_rule(classes: int, chance: float) -> None:
    metrics = np.random.default_rng(0).normal(size=(2000, classes))
    rate = np.mean([(repaired_score(metric) > 3.5).any() for metric in metrics])
    assert rate == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / 2000) + 0.005)


def attacked_run() -> Any:
    """Label 2 of five: 12 samples turn into 0, 3 into a mixture, 5 stay; of the others two each waver."""
    rows, given = [], []
    for label in range(5):
        rows += [[label] * 11] * 20 + [[label] * 6 + [(label + 1) % 5] * 5] * 2
        given += [label] * 22
    rows += [[2] + [0] * 10] * 12 + [[2] + [0] * 5 + [1] * 5] * 3
    given += [2] * 15
    return SimpleNamespace(
        labels=np.array([*given, -1]),
        classes=list("abcde"),
        readable_rows=lambda: np.arange(len(given)),
        column=lambda stage, name: np.array(rows, np.int16),
        findings={},
    )


@pytest.mark.parametrize("rule", ["published", "repaired"])
def test_stage_finds_the_label_under_attack(rule: Any) -> None:
    run = attacked_run()
    columns = TransitionsStage(rule=rule).reduce(run)
    (target,) = [Target(**target) for target in run.findings["targets"]]
    assert (target.label, target.name, target.suspects) == (2, "c", 17)
    assert target.score > 0.99
    assert target.evidence["anomalous"] == 17
    assert columns["suspect"].sum() == 17
    assert columns["label"][110:].tolist() == [0] * 15
    assert columns["single"][110:].tolist() == [True] * 12 + [False] * 3
    assert columns["suspicion"][110:].tolist() == [1] * 15
    assert columns["suspicion"][44:66].tolist() == [0] * 20 + [0.5] * 2
    assert not columns["suspicion"][:44].any()


def test_stage_says_none_when_labels_are_alike() -> None:
    run = attacked_run()
    run.labels[44:66], run.labels[110:125] = 2, np.repeat([0, 1, 2, 3, 4], 3)
    columns = TransitionsStage(minimum=1).reduce(run)
    assert run.findings["targets"] == []
    assert not columns["suspect"].any()


def test_settings_are_checked() -> None:
    with pytest.raises(ElixirError, match="repaired"):
        TransitionsStage(rule="repared")  # type: ignore[arg-type]
    with pytest.raises(ElixirError, match="tau"):
        TransitionsStage(tau=0)
