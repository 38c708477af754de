"""How rare scores are in clean sets: what the tails say, and that they are those of the committed scans."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest

from elixir.detection import alarm_rate
from elixir.detection.alarm_rate import TAILS, Tail, false_alarms, rarity
from elixir.detection.thresholds import Thresholds

STUDY = Path(__file__).parents[2] / "notebooks" / "false_alarms"
TAIL = Tail(0.1, 0.2, 0.05)


def drawn(rng: np.random.Generator, *size: int) -> np.ndarray:
    """Scores of benign labels: of a share an exponential part above the threshold, of all others less."""
    above = rng.random(size) < TAIL.share
    return np.where(above, TAIL.above + TAIL.scale * rng.exponential(size=size), rng.random(size) * TAIL.above)


def test_so_many_labels_reach_a_score_as_the_tail_says():
    scores = drawn(np.random.default_rng(0), 20_000, 40)
    for score in (0.12, 0.2, 0.4):
        assert (scores >= score).sum(1).mean() == pytest.approx(TAIL.expected(score, 40), rel=0.1)
    assert (scores.max(1) >= 0.3).mean() == pytest.approx(1 - math.exp(-TAIL.expected(0.3, 40)), rel=0.1)


@pytest.mark.parametrize("score", [-1.0, 0.0, 0.1])
def test_about_scores_below_its_threshold_a_tail_says_nothing(score: float):
    assert TAIL.expected(score, 40) == false_alarms(TAIL, score, 40) == 40


@pytest.mark.parametrize("labels", [2, 10, 43])
def test_a_set_with_more_labels_needs_higher_scores_and_all_tests_share_one_alarm_rate(labels: int):
    rate = Thresholds().alarm_rate
    least = [tail.above + tail.scale * math.log(len(TAILS) * labels * tail.share / rate) for tail in TAILS]
    for tail, score in zip(TAILS, least, strict=True):
        assert tail.above < score < 1
        assert false_alarms(tail, score, labels) == pytest.approx(rate)
        assert false_alarms(tail, score, 2 * labels) == pytest.approx(2 * rate)
    assert sum(tail.expected(score, labels) for tail, score in zip(TAILS, least, strict=True)) == pytest.approx(rate)


def test_what_is_rarer_than_the_scans_can_tell_is_not_told_exactly():
    assert rarity(0.0123) == "1 in 81"
    assert rarity(0.00025) == "1 in 4,000"
    assert rarity(1e-9) == rarity(1e-4) == "fewer than 1 in 10,000"


def test_the_tails_are_those_of_the_scans():
    study = runpy.run_path(str(STUDY / "tails.py"))
    scans = study["read"](STUDY / "results")
    assert len(scans) >= 80
    for kind, found in study["all_fitted"](scans).items():
        tail = getattr(alarm_rate, kind)
        assert found.above == pytest.approx(tail.above, abs=5e-4)
        assert (found.share, found.scale) == pytest.approx((tail.share, tail.scale), rel=0.01)


def test_the_fit_finds_the_tail_that_scores_have():
    study, rng = runpy.run_path(str(STUDY / "tails.py")), np.random.default_rng(0)
    labels = rng.choice([2, 10, 50], 5000).tolist()
    scans = [
        {"trouble": "none", "labels": n, "labels_not_judged": 0, "scores": {"direct joint": [drawn(rng, n).max()]}}
        for n in labels
    ]
    found = study["fitted"](scans, ["TRANSFER"])["TRANSFER"]
    assert found.scale == pytest.approx(TAIL.scale, rel=0.1)
    for score in (0.3, 0.4):
        assert found.expected(score, 10) == pytest.approx(TAIL.expected(score, 10), rel=0.2)
