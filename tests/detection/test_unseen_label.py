"""What models that have never seen a label read in its samples."""

import numpy as np
import pytest
from fakes import FakeProbe

from elixir.detection.evidence import Candidate, Evidence
from elixir.detection.scores import SampleScores
from elixir.detection.thresholds import Thresholds
from elixir.detection.unseen_label import UnseenLabel

EACH = 150
TARGET = 3


def proposals(
    labels: int = 12, *, poisoned: float = 0.0, sources: int = 11, alike: int = 2, read: bool = True
) -> tuple[dict[int, Candidate], np.ndarray, FakeProbe]:
    """What is proposed for every label, which samples are poisoned, and the probe.

    Of the target's samples a share shows other labels. To a model an image looks like its true label, or like what is
    similar to it, where it does not know that.

    Args:
        labels: in all, of `EACH` samples.
        poisoned: share of the target's samples.
        sources: how many labels these come from.
        alike: labels after it that each label is similar to.
        read: whether they look like their true labels; else they are as strange as benign ones.
    """
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(labels), EACH)
    is_poisoned = (label == TARGET) & (rng.random(len(label)) < poisoned)
    others = np.delete(np.arange(labels), TARGET)[:sources]
    true = np.where(is_poisoned & read, others[rng.integers(0, len(others), len(label))], label)
    logits = rng.normal(0, 0.3, (len(label), labels))
    for step in range(1, alike + 1):
        logits[np.arange(len(label)), (true + step) % labels] += rng.uniform(3, 6, len(label))
    logits[np.arange(len(label)), true] += rng.uniform(8, 12, len(label))
    features = rng.normal(0, 1, (len(label), 8)) + 6 * is_poisoned[:, None]
    zeros = np.zeros(len(label))
    scores = SampleScores(label, features.astype(np.float32), zeros, zeros, zeros > 0, label, zeros)
    probe = FakeProbe(log_probabilities=lambda indices: logits[indices].astype(np.float32))
    evidence = Evidence(scores, probe, Thresholds(), seed=0)
    detector = UnseenLabel(evidence)
    found = {one: detector.propose(evidence, one, scores.members(one)) for one in range(labels)}
    return found, is_poisoned, probe


def times(candidate: Candidate) -> float:
    return 0.0 if candidate.measure is None else np.exp(candidate.measure)


def test_samples_that_show_all_kinds_of_other_labels_are_far_more_than_usual():
    found, is_poisoned, _ = proposals(poisoned=0.4)
    target = found.pop(TARGET)
    assert times(target) > 8 > 3 > max(map(times, found.values()))
    share = is_poisoned.sum() / EACH
    assert target.score == pytest.approx(share, abs=0.25)
    inside = target.posterior > 0.5
    assert inside[is_poisoned[target.members]].mean() > 0.9 > 0.5 > inside[~is_poisoned[target.members]].mean()
    assert target.evidence["times"] == pytest.approx(times(target))


def test_a_model_learns_from_one_half_of_the_labels_alone():
    _, _, probe = proposals()
    first, second = (set((seen // EACH).tolist()) for seen in probe.halves)
    assert len(first) == len(second) == 6
    assert not first & second
    assert {len(seen) for seen in probe.halves} == {round(0.8 * 6 * EACH)}


@pytest.mark.parametrize("alike", [0, 1, 2])
def test_labels_that_look_like_a_few_others_are_benign(alike: int):
    found, _, _ = proposals(alike=alike)
    assert max(map(times, found.values())) < 3


def test_samples_of_one_other_label_are_not_distinguished_from_such_as_look_like_it():
    found, _, _ = proposals(poisoned=0.4, sources=1)
    assert times(found[TARGET]) < 3


def test_samples_that_look_like_nothing_in_particular_are_benign():
    found, _, _ = proposals(poisoned=0.4, read=False)
    assert times(found[TARGET]) < 3


def test_where_all_labels_look_like_all_others_nothing_is_unusual_about_it():
    found, _, _ = proposals(alike=11)
    assert max(map(times, found.values())) < 3


@pytest.mark.parametrize(("labels", "models"), [(6, 0), (7, 1), (8, 2)])
def test_of_few_labels_nothing_can_be_said(labels: int, models: int):
    found, _, probe = proposals(labels, poisoned=0.4, sources=labels - 1)
    assert len(probe.halves) == models
    if not models:
        assert not any(candidate.score or candidate.posterior.any() for candidate in found.values())
