"""Tests that are not enough to put a label under attack by themselves."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from fakes import FakeProbe

from elixir.detection import decide
from elixir.detection.alarm_rate import PATTERN, SHARE, TRANSFER, UNSEEN, Usual
from elixir.detection.decide import Detection, detect
from elixir.detection.evidence import Candidate, Evidence
from elixir.detection.reports import LabelReport
from elixir.detection.scores import SampleScores
from elixir.detection.thresholds import Thresholds

EACH = 100
ENOUGH = float(np.log(2 * SHARE / Thresholds().alarm_rate))  # nats that put one of two labels under attack


@dataclass
class Says:
    """A detector that points at some of the second label's samples, with a surprise in nats."""

    name: str
    usual: Usual | None
    surprise: float = 0.0
    group: tuple[int, int] = (0, 0)

    def propose(self, evidence: Evidence, label: int, members: np.ndarray) -> Candidate:
        place = np.arange(len(members))
        inside = (label == 1) & (place >= self.group[0]) & (place < self.group[1])
        usual = self.usual or TRANSFER
        score = (usual.above + usual.scale * self.surprise) * (label == 1)
        return Candidate(self.name, members, inside.astype(float), min(score, 1.0), {}, score)


def detected(monkeypatch: pytest.MonkeyPatch, *says: Says) -> Detection:
    """What is found in two labels; held-out models see the labels that are given."""
    label = np.repeat([0, 1], EACH)
    zeros = np.zeros(2 * EACH)
    features = np.random.default_rng(0).normal(size=(2 * EACH, 4)).astype(np.float32)
    scores = SampleScores(label, features, zeros, zeros, zeros > 0, label, zeros)
    probe = FakeProbe(log_probabilities=lambda indices: np.log(np.eye(2)[label[indices]].clip(1e-6, 1)))
    split = Says("spectral_split", PATTERN)
    asked: list[Any] = [*says, *([] if any(one.name == split.name for one in says) else [split])]
    monkeypatch.setattr(decide, "detectors", lambda evidence: asked)
    return detect(Evidence(scores, probe, Thresholds(), seed=0), ["first", "second"])


def second(found: Detection) -> tuple[LabelReport, list[int]]:
    """The report of the second label, and the first and last sample of its group."""
    inside = np.flatnonzero(found.posterior[EACH:] > 0.5)
    return found.reports[1], [int(inside.min()), int(inside.max())] if len(inside) else []


def test_the_first_test_that_is_enough_decides_alone(monkeypatch: pytest.MonkeyPatch):
    joint, split = Says("joint", TRANSFER, ENOUGH + 0.1, (0, 20)), Says("spectral_split", PATTERN, ENOUGH + 3, (50, 70))
    report, group = second(detected(monkeypatch, joint, split))
    assert report.decided_by is not None
    assert (report.decided_by.detector, group) == ("joint", [0, 19])


def test_kinds_add_up_and_their_groups_are_joined(monkeypatch: pytest.MonkeyPatch):
    half = ENOUGH / 2 + 0.1
    joint, split = Says("joint", TRANSFER, half, (0, 20)), Says("spectral_split", PATTERN, half + 0.1, (20, 30))
    report, group = second(detected(monkeypatch, joint, split))
    assert report.decided_by is not None
    assert (report.decided_by.detector, group) == ("spectral_split", [0, 29])
    assert report.false_alarms == pytest.approx(2 * SHARE * np.exp(-2 * half - 0.1))


def test_tests_of_one_kind_do_not_add_up_nor_do_their_groups(monkeypatch: pytest.MonkeyPatch):
    half = ENOUGH / 2 + 0.1
    joint, other = Says("joint", TRANSFER, half, (0, 20)), Says("other", TRANSFER, half - 0.05, (20, 90))
    report, _ = second(detected(monkeypatch, joint, other))
    assert report.decided_by is None
    report, group = second(detected(monkeypatch, joint, other, Says("spectral_split", PATTERN, half, (10, 30))))
    assert report.decided_by is not None
    assert group == [0, 29]


def test_models_that_have_never_seen_a_label_count_where_those_without_its_groups_find_nothing(
    monkeypatch: pytest.MonkeyPatch,
):
    joint = Says("joint", TRANSFER, ENOUGH / 2, (0, 20))
    unseen = Says("unseen_label", UNSEEN, ENOUGH / 2 + 0.1, (40, 60))
    report, group = second(detected(monkeypatch, joint, unseen))
    assert report.decided_by is not None
    assert (report.decided_by.detector, group) == ("unseen_label", [0, 59])
    assert any(test.detector == "seed" and not test.passed for test in report.tests)


def test_what_decides_nothing_adds_nothing(monkeypatch: pytest.MonkeyPatch):
    joint, denied = Says("joint", TRANSFER, ENOUGH - 0.1, (0, 20)), Says("label_disagreement", None, 9.0, (20, 60))
    report, _ = second(detected(monkeypatch, joint, denied))
    assert report.decided_by is None
    assert (report.tests[1].counts_as, report.tests[1].surprise) == ("", 0)
