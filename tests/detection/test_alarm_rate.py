"""How rare scores are in clean sets: what the tails say, and that they are those of the committed scans."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest

from elixir.detection.alarm_rate import TAILS, Tail, false_alarms, rarity
from elixir.detection.thresholds import Thresholds

STUDY = Path(__file__).parents[2] / "notebooks" / "false_alarms"


def test_so_many_labels_reach_a_score_as_the_tail_says():
    tail, labels, rng = Tail(0.1, 0.05), 40, np.random.default_rng(0)
    scores = tail.location + tail.scale * rng.exponential(size=(20_000, labels))
    for score in (0.12, 0.2, 0.4):
        assert (scores >= score).sum(1).mean() == pytest.approx(tail.expected(score, labels), rel=0.1)
    greatest = (scores.max(1) >= 0.35).mean()
    assert greatest == pytest.approx(1 - math.exp(-tail.expected(0.35, labels)), rel=0.1)
    assert tail.expected(0.0, labels) == labels


@pytest.mark.parametrize("labels", [2, 43, 1000])
def test_a_set_with_more_labels_needs_higher_scores_and_one_alarm_rate_is_shared_by_all_tests(labels: int):
    rate = Thresholds().alarm_rate
    least = {kind: tail.location + tail.scale * math.log(len(TAILS) * labels / rate) for kind, tail in TAILS.items()}
    for kind, score in least.items():
        assert false_alarms(kind, score, labels) == pytest.approx(rate)  # type: ignore[arg-type]
        assert false_alarms(kind, score, 2 * labels) == pytest.approx(2 * rate)  # type: ignore[arg-type]
        assert 0 < score < 1
    assert sum(tail.expected(least[kind], labels) for kind, tail in TAILS.items()) == pytest.approx(rate)
    assert false_alarms("direct", -1.0, labels) == labels


def test_what_is_rarer_than_the_scans_can_tell_is_not_told_exactly():
    assert rarity(0.0123) == "1 in 81"
    assert rarity(0.00025) == "1 in 4,000"
    assert rarity(1e-9) == rarity(1e-4) == "fewer than 1 in 10,000"


def test_the_tails_are_those_of_the_scans():
    study = runpy.run_path(str(STUDY / "tails.py"))
    scans = study["read"](STUDY / "results")
    assert len(scans) >= 90
    for kind, tail in TAILS.items():
        found = study["fitted"](scans, kind)
        assert (found.location, found.scale) == pytest.approx((tail.location, tail.scale), abs=1e-3)


def test_the_fit_finds_the_tail_that_scores_have():
    study, rng = runpy.run_path(str(STUDY / "tails.py")), np.random.default_rng(0)
    tail = Tail(0.05, 0.04)
    scans = [
        {
            "labels": labels,
            "labels_not_judged": 0,
            "scores": {"direct joint": [float(tail.location + tail.scale * most)]},
        }
        for labels in rng.choice([2, 10, 50], 2000).tolist()
        for most in [rng.exponential(size=labels).max()]
    ]
    found = study["fitted"](scans, "direct")
    assert (found.location, found.scale) == pytest.approx((tail.location, tail.scale), rel=0.25)
