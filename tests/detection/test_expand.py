"""A group grows to the whole attack, and to nothing else."""

from collections.abc import Mapping

import numpy as np
import pytest
from fakes import FakeProbe

from elixir.detection.decide import Detection
from elixir.detection.evidence import Evidence
from elixir.detection.expand import EXPANSIONS, expand, flagged
from elixir.detection.reports import LabelReport, LabelTest
from elixir.detection.scores import SampleScores
from elixir.detection.thresholds import Thresholds

COUNT = 200
POISONED = 80
HIDDEN = 30
FIRST_POISONED = 2 * COUNT - POISONED
FIRST_HIDDEN = 2 * COUNT - HIDDEN
every = np.arange(2 * COUNT)


class FakeRecognizer:
    """Recognizers of the trigger: the more of the poisoned samples they learn from, the surer they are of it.

    Args:
        faint: they see nothing of it.
    """

    def __init__(self, faint: bool) -> None:
        self._faint = faint

    def __call__(self, groups: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        seen = (every >= FIRST_POISONED) & (not self._faint)
        log_odds = np.where(seen, 12 * len(groups[1]) / POISONED - 10, -10)
        log_odds = log_odds + np.random.default_rng(len(groups[1])).normal(0, 0.5, len(every))
        return {1: np.where(every >= COUNT, log_odds, 0.0)}


class Expanded:
    """What a group of the second of two labels grows to; 80 of its samples are poisoned, the last look typical.

    Args:
        detector: whose test has put the second label under attack; none has if empty.
        hidden: poisoned samples that lie with the benign ones in the features.
        faint: recognizers see nothing of the trigger.
        wrong: benign samples of the second label that are in the group, as they lie half-way to the poisoned ones.
        carried: whether the poisoned samples that lie apart show a trigger that transfers, and lose their label with a
            little noise.
        rounds: of recognizers, at most.
    """

    def __init__(
        self,
        detector: str = "joint",
        *,
        hidden: int = HIDDEN,
        faint: bool = False,
        wrong: int = 0,
        carried: bool = True,
        rounds: int = Thresholds.recognizer_rounds,
    ) -> None:
        rng = np.random.default_rng(0)
        label = np.repeat([0, 1], COUNT)
        poisoned = every >= FIRST_POISONED
        apart = poisoned & (every < 2 * COUNT - hidden)
        wrongly = (every >= COUNT) & (every < COUNT + wrong)
        features = rng.normal(0, 1, (2 * COUNT, 8)) + np.where(apart[:, None], [8, *[0] * 7], [0, 8, *[0] * 6])
        features[wrongly, :2] += [4, -4]
        transfer = np.where(apart & carried, 0.8, 0.1) + rng.uniform(-0.1, 0.1, 2 * COUNT)
        scores = SampleScores(
            label,
            features.astype(np.float32),
            trigger_transfer=transfer,
            label_disagreement=np.zeros(2 * COUNT),
            disagrees=np.zeros(2 * COUNT, bool),
            seen=label,
            confidence_drop=1 - np.exp(-np.where(apart & carried, 3.0, 0.2)),
        )
        direct = LabelTest("joint", "direct", 0, 0.2, passed=False)
        deciding = LabelTest(detector, "direct", 0, 0.4, passed=True) if detector else None
        reports = LabelReport(0, "first", COUNT), LabelReport(1, "second", COUNT, (direct,), deciding)
        self.posterior = np.where(apart | wrongly, 0.9, 0.001).astype(np.float32)
        self.split_posterior = np.where(apart, 0.95, 0).astype(np.float32)
        self.probe = FakeProbe(recognize=FakeRecognizer(faint))
        evidence = Evidence(scores, self.probe, Thresholds(recognizer_rounds=rounds), seed=0)
        found = Detection(reports, self.posterior, self.split_posterior)
        self.score = expand(evidence, found)
        self.flagged = np.flatnonzero(flagged(evidence, found, self.score)).tolist()


@pytest.mark.parametrize(
    ("detector", "carried"),
    [
        ("joint", True),
        ("unseen_label", False),
        ("expanded", False),
        ("noise_sensitivity", True),
        ("spectral_split", False),
    ],
)
def test_poisoned_samples_that_look_typical_are_recognized_by_the_trigger(detector: str, carried: bool):
    found = Expanded(detector, carried=carried)
    assert found.flagged == list(range(FIRST_POISONED, 2 * COUNT))
    first, second = (groups[1] for groups in found.probe.groups)
    assert sorted(first) == list(range(FIRST_POISONED, FIRST_HIDDEN))
    assert set(first) < set(second)


def test_where_samples_show_something_of_their_own_those_that_do_not_are_cleared():
    by_transfer, by_drop, by_features = (
        Expanded(detector, wrong=5, rounds=0).flagged for detector in ("joint", "noise_sensitivity", "expanded")
    )
    assert by_transfer == by_drop == list(range(FIRST_POISONED, FIRST_HIDDEN))
    assert set(range(COUNT, COUNT + 5)) & set(by_features)


def test_without_rounds_they_are_missed():
    found = Expanded(rounds=0)
    assert found.flagged == list(range(FIRST_POISONED, FIRST_HIDDEN))
    assert not found.probe.groups


def test_what_recognizers_do_not_see_does_not_join():
    assert Expanded("joint", faint=True).flagged == list(range(FIRST_POISONED, FIRST_HIDDEN))


def test_where_there_is_no_rest_to_tell_it_from_the_group_stays():
    found = Expanded("expanded", hidden=0, wrong=COUNT - POISONED - 3)
    assert found.flagged == [*range(COUNT, FIRST_POISONED - 3), *range(FIRST_POISONED, 2 * COUNT)]
    assert not found.probe.groups


def test_a_group_that_is_whole_takes_one_round():
    found = Expanded(hidden=0)
    assert found.flagged == list(range(FIRST_POISONED, 2 * COUNT))
    assert len(found.probe.groups) == 1


@pytest.mark.parametrize("detector", ["shared_trigger", ""])
def test_nothing_is_trained_for_a_trigger_of_many_labels_or_without_an_attack(detector: str):
    found = Expanded(detector)
    assert not found.probe.groups
    assert found.flagged == (list(range(FIRST_POISONED, FIRST_HIDDEN)) if detector else [])
    weight = np.repeat([0, 1 if detector else 0.2], COUNT)
    np.testing.assert_allclose(found.score, weight * found.posterior, rtol=1e-6)


def test_everything_that_decides_has_an_expansion():
    assert EXPANSIONS.keys() == {
        *("joint", "shared_trigger", "spectral_split", "unseen_label"),
        *("expanded", "noise_sensitivity"),
    }
