"""The paper's rules for labels under attack, on tables small enough to work out by hand."""

import numpy as np
import pytest

from elixir.detection.discrepancy import CONSISTENCY, published, published_score, repaired, repaired_score
from elixir.stages.paper.transitions import TransitionsStage

PUBLISHED = TransitionsStage.published_threshold
REPAIRED = {"threshold": TransitionsStage.repaired_threshold, "min_deviation": TransitionsStage.min_deviation}


def test_the_thresholds_are_the_papers_and_ours() -> None:
    assert (PUBLISHED, REPAIRED) == (2.0, {"threshold": 3.5, "min_deviation": 0.1})


def test_published_rule_by_hand() -> None:
    metric = np.array([1.0, 1.1, 1.2, 0.9, 3.0])
    found = published(np.exp(-metric), np.ones(5), PUBLISHED)
    assert found.metric == pytest.approx(metric)
    assert found.score == pytest.approx(np.array([0.1, 0, 0.1, 0.2, 1.9]) / (CONSISTENCY * 0.1))
    assert found.flagged.tolist() == [False, False, False, False, True]
    assert found.confidence[4] == pytest.approx(1)
    assert found.confidence[1] == 0


def test_published_rule_flags_labels_that_are_too_quiet_and_the_repaired_one_does_not() -> None:
    matching, total = 1020 * np.exp(-np.array([1.0, 1.1, 1.2, 0.9, 0.1])), np.full(5, 1020.0)
    assert published(matching, total, PUBLISHED).flagged.tolist() == [False, False, False, False, True]
    assert not repaired(matching, total, np.full(5, 20), minimum=10, **REPAIRED).flagged.any()


def test_a_label_without_anomalous_samples_silences_the_published_rule() -> None:
    matching, total = np.array([500.0, 510, 490, 0, 20]), np.array([1020.0, 1020, 1020, 0, 1020])
    found = published(matching, total, PUBLISHED)
    assert np.isnan(found.score).all()
    assert not found.flagged.any()
    found = repaired(matching, total, np.array([20, 20, 20, 0, 20]), minimum=10, **REPAIRED)
    assert found.flagged.tolist() == [False, False, False, False, True]


def test_labels_that_never_come_back_silence_the_published_rule_when_they_are_many() -> None:
    total = np.full(5, 1020.0)
    few = published(np.array([500.0, 510, 490, 505, 0]), total, PUBLISHED)
    assert few.score[4] == np.inf
    assert few.flagged.tolist() == [False, False, False, False, True]
    many = published(np.array([500.0, 510, 0, 0, 0]), total, PUBLISHED)
    assert np.isnan(many.score[2:]).all()
    assert not many.flagged.any()


def test_repaired_rule_by_hand() -> None:
    matching, total = np.array([510.0] * 5 + [51]), np.full(6, 1020.0)
    found = repaired(matching, total, np.full(6, 20), minimum=10, **REPAIRED)  # one sample more, of 51 predictions
    assert found.metric == pytest.approx([-np.log(561 / 1071)] * 5 + [-np.log(102 / 1071)])
    assert found.score[5] == pytest.approx(np.log(561 / 102) / 0.1)
    assert found.flagged.tolist() == [False] * 5 + [True]
    assert not repaired(matching, total, np.full(6, 20), minimum=21, **REPAIRED).flagged.any()


def test_repaired_rule_without_any_anomalous_sample() -> None:
    found = repaired(np.zeros(4), np.zeros(4), np.zeros(4), minimum=1, **REPAIRED)
    assert found.score.tolist() == [0, 0, 0, 0]
    assert not found.flagged.any()


@pytest.mark.parametrize(("classes", "chance"), [(10, 0.52), (43, 0.84), (100, 0.97)])
def test_false_alarms_of_the_published_rule(classes: int, chance: float) -> None:
    metrics = np.random.default_rng(0).normal(size=(2000, classes))
    rate = np.mean([(published_score(metric) > PUBLISHED).any() for metric in metrics])
    assert rate == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / 2000) + 0.005)


@pytest.mark.parametrize(("classes", "chance"), [(10, 0.07), (43, 0.05), (100, 0.05)])
def test_false_alarms_of_the_repaired_rule(classes: int, chance: float) -> None:
    metrics = np.random.default_rng(0).normal(size=(2000, classes))
    rate = np.mean(
        [(repaired_score(metric, REPAIRED["min_deviation"]) > REPAIRED["threshold"]).any() for metric in metrics]
    )
    assert rate == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / 2000) + 0.005)
