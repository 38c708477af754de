"""The paper's label transitions, on tables small enough to work out by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeModels, fake_run, provide

from elixir.detection.reports import LabelReport, label_reports
from elixir.engine.run import Run
from elixir.errors import ElixirError
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


def predicting(folder: Path, given: np.ndarray, classes: str, predicted: np.ndarray) -> Run:
    """A run after the candidates; samples without a label are not usable."""
    usable = given >= 0
    images = np.zeros((int(usable.sum()), 3, 4, 4), np.uint8)
    run = fake_run(
        folder, given, list(classes), images, FakeModels(lambda name, images: (np.zeros(0), np.zeros(0))), None, usable
    )
    provide(run, predicted=predicted.astype(np.int32))
    return run


def attacked(run: Run) -> list[LabelReport]:
    return [report for report in label_reports(run.facts) if report.decided_by]


def test_transition_rule() -> None:
    found = label_transitions(PREDICTED, tau=2)
    assert found.majority.tolist() == [1, 2, 1, 1, 2, 1]
    assert found.anomalous.tolist() == [False, True, False, True, True, True]
    assert found.unanimous.tolist() == [True, True, True, False, True, False]
    assert found.kept.sum(1).tolist() == [7, 7, 6, 7, 5, 7]
    assert not found.kept[2, 6]
    assert found.kept[4].tolist() == [True, True, True, True, True, False, False]


def test_what_is_misread_throughout_is_not_flagged(tmp_path: Path) -> None:
    """The reference model takes the sample for another label before and after: nothing has changed."""
    predicted = np.array([[1] * 7, *[[2] + [0] * 6] * 3, *[[index] * 7 for index in (0, 1, 3)]], np.int16)
    given = np.array([2, 2, 2, 2, 0, 1, 3])
    run = predicting(tmp_path, given, "abcd", predicted)
    found = TransitionsStage(tau=2, minimum=1).reduce(run)
    assert [report.name for report in attacked(run)] == ["c"]
    assert found["flagged"].tolist() == [False, True, True, True, False, False, False]
    assert found["poison_score"].tolist() == [0, 1, 1, 1, 0, 0, 0]


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


def wavering() -> tuple[np.ndarray, np.ndarray]:
    """Label 2 of five: 12 samples turn into 0, 3 into a mixture, 5 stay; of the others two each waver. One is unusable.

    Returns:
        Given labels, and predictions of all but the last.
    """
    rows, given = [], []
    for label in range(5):
        rows += [[label] * 11] * 20 + [[label] * 6 + [(label + 1) % 5] * 5] * 2
        given += [label] * 22
    rows += [[2] + [0] * 10] * 12 + [[2] + [0] * 5 + [1] * 5] * 3
    given += [2] * 15
    return np.array([*given, -1]), np.array(rows)


@pytest.mark.parametrize("rule", ["published", "repaired"])
def test_stage_finds_the_label_under_attack(tmp_path: Path, rule: Any) -> None:
    given, predicted = wavering()
    run = predicting(tmp_path, given, "abcde", predicted)
    columns = TransitionsStage(rule=rule).reduce(run)
    (report,) = attacked(run)
    assert report.decided_by is not None
    assert (report.label, report.name, report.samples) == (2, "c", 37)
    assert report.decided_by.kind == "discrepancy"
    assert report.decided_by.score > 0.99
    assert report.decided_by.group_size == 17
    assert columns["flagged"].sum() == 17
    assert columns["majority_label"][110:].tolist() == [0] * 15
    assert columns["unanimous"][110:].tolist() == [True] * 12 + [False] * 3
    assert columns["poison_score"][110:].tolist() == [1] * 15
    assert columns["poison_score"][44:66].tolist() == [0] * 20 + [0.5] * 2
    assert not columns["poison_score"][:44].any()
    assert [len(report.tests) for report in label_reports(run.facts)] == [1] * 5


def test_stage_says_none_when_labels_are_alike(tmp_path: Path) -> None:
    given, predicted = wavering()
    given[44:66], given[110:125] = 2, np.repeat([0, 1, 2, 3, 4], 3)
    run = predicting(tmp_path, given, "abcde", predicted)
    columns = TransitionsStage(minimum=1).reduce(run)
    assert attacked(run) == []
    assert not columns["flagged"].any()


def test_settings_are_checked() -> None:
    with pytest.raises(ElixirError, match="repaired"):
        TransitionsStage(rule="repared")  # type: ignore[arg-type]
    with pytest.raises(ElixirError, match="tau"):
        TransitionsStage(tau=0)
