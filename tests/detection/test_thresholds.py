"""The numbers that decide: each in its range, explained, and known by its name."""

from dataclasses import asdict

import pytest

from elixir.detection.thresholds import Thresholds
from elixir.errors import ElixirError
from elixir.settings import build, explained, kinds


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed_threshold": 0},
        {"candidate_threshold": 0},
        {"alarm_rate": 1.0},
        {"holdout_fraction": 0},
        {"min_group_size": 0},
        {"negative_threshold": 0.3},
        {"flag_threshold": 0},
        {"positive_threshold": 1.0},
        {"recognizer_rounds": -1},
        {"min_separation": "high"},
    ],
)
def test_senseless_thresholds_are_refused(wrong: dict[str, float]):
    with pytest.raises(ElixirError, match=f"thresholds.{next(iter(wrong))}"):
        build(Thresholds, wrong)


def test_an_unknown_threshold_is_refused_with_a_hint():
    with pytest.raises(ElixirError, match=r"thresholds has no setting 'alarm_rat'; did you mean 'alarm_rate'\?"):
        build(Thresholds, {"alarm_rat": 0.4})


def test_every_threshold_is_explained():
    said = explained(Thresholds)
    assert said.keys() == kinds(Thresholds).keys() == asdict(Thresholds()).keys()
    for name, line in said.items():
        text, _, limits = line.partition("(")
        assert len(text.split()) >= 3, name
        assert limits.rstrip(")"), name  # every number has a range


def test_what_is_not_given_has_its_default():
    assert build(Thresholds, {"alarm_rate": 0.4}) == Thresholds(alarm_rate=0.4)
