"""How rare the evidence against a label is in clean sets, and that the numbers are those of the committed scans."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest

from elixir.detection import alarm_rate
from elixir.detection.alarm_rate import HOLDOUT, PATTERN, SHARE, TRANSFER, Usual, false_alarms, rarity
from elixir.detection.thresholds import Thresholds

STUDY = Path(__file__).parents[2] / "notebooks" / "false_alarms"
USUAL = Usual("transfer", 0.1, 0.05)
SURPRISING = 0.2


def drawn(rng: np.random.Generator, *size: int) -> np.ndarray:
    """Scores of benign labels: of a share an exponential part above the threshold, of all others less."""
    above = rng.random(size) < SURPRISING
    return np.where(above, USUAL.above + USUAL.scale * rng.exponential(size=size), rng.random(size) * USUAL.above)


def test_surprise_is_minus_the_logarithm_of_the_share_of_high_scores_that_are_as_high():
    scores = drawn(np.random.default_rng(0), 1_000_000)
    high = scores[scores > USUAL.above]
    for score in (0.12, 0.2, 0.3):
        assert -np.log((high >= score).mean()) == pytest.approx(USUAL.surprise(score), rel=0.02)


@pytest.mark.parametrize("score", [-1.0, 0.0, 0.1])
def test_scores_up_to_the_threshold_surprise_nobody(score: float):
    assert USUAL.surprise(score) == 0
    assert false_alarms(0.0, 40) == 40


@pytest.mark.parametrize("labels", [2, 10, 43, 1000])
def test_a_set_with_more_labels_needs_more_surprise(labels: int):
    rate = Thresholds().alarm_rate
    enough = math.log(labels * SHARE / rate)
    assert false_alarms(enough, labels) == pytest.approx(rate)
    assert false_alarms(enough, 2 * labels) == pytest.approx(2 * rate)
    for usual in (TRANSFER, PATTERN):
        assert usual.above + usual.scale * enough < 0.6  # so much can be reached by one direct score alone
    assert (HOLDOUT.above + HOLDOUT.scale * enough < 1) == (labels < 300)


def test_labels_that_surprise_in_two_independent_ways_at_once_are_no_more_than_stated():
    rng = np.random.default_rng(0)
    high = rng.random((2, 2_000_000)) < SHARE / 2
    together = (rng.exponential(size=high.shape) * high).sum(0)
    for surprise in (0.5, 2.0, 4.0):
        assert (together >= surprise).mean() <= 1.05 * false_alarms(surprise, 1)


def test_what_is_rarer_than_the_scans_can_tell_is_not_told_exactly():
    assert rarity(0.0123) == "1 in 81"
    assert rarity(0.00025) == "1 in 4,000"
    assert rarity(1e-9) == rarity(1e-4) == "fewer than 1 in 10,000"


def test_the_numbers_are_those_of_the_scans():
    study = runpy.run_path(str(STUDY / "tails.py"))
    scans = study["read"](STUDY / "results")
    assert len(scans) >= 80
    fit = study["fitted"](scans)
    for kind, found in fit.usual.items():
        usual = getattr(alarm_rate, kind)
        assert found.kind == usual.kind
        assert (found.above, found.scale) == pytest.approx((usual.above, usual.scale), abs=1e-3)
    assert fit.share == pytest.approx(SHARE, abs=1e-3)


def test_the_fit_finds_the_tail_that_scores_have():
    study, rng = runpy.run_path(str(STUDY / "tails.py")), np.random.default_rng(0)
    scans = [
        {"trouble": "none", "labels": n, "scores": {"direct joint": drawn(rng, n).tolist()}}
        for n in rng.choice([2, 10, 50], 5000).tolist()
    ]
    fit = study["fitted"](scans)
    assert fit.usual["TRANSFER"].scale == pytest.approx(USUAL.scale, rel=0.1)
    for score in (0.3, 0.4):
        surprise = fit.usual["TRANSFER"].surprise(score)
        expected = SURPRISING * math.exp(-USUAL.surprise(score))
        assert fit.share * math.exp(-surprise) == pytest.approx(expected, rel=0.2)
