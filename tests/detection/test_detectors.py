"""Five ways to learn that a label is under attack, and none on clean data."""

import numpy as np
import pytest
import torch
from fakes import FakeImages, FakeProbe

from elixir.detection.decide import Detection, detect
from elixir.detection.evidence import Evidence
from elixir.detection.scores import sample_scores
from elixir.detection.thresholds import Thresholds

COUNT = 400
STRIPES = (-1) ** np.arange(8)


def detected(poisoned: np.ndarray, *, transfers: bool, disagrees: bool, common: float, stripes: float = 0) -> Detection:
    """What is found in two labels of 400 samples; the poisoned ones of the second lie apart in the features.

    The images are noise, those of poisoned samples with stripes of so many grey levels. If the poisoned samples carry
    what transfers, purification has taken 8 levels of stripes away. Images with stripes are of the second label with
    the probability `common`. The held-out model reads the given labels.
    """
    rng = np.random.default_rng(0)
    label = np.repeat([0, 2], COUNT)
    attacked = np.concatenate([np.zeros(COUNT, bool), poisoned])
    features = rng.normal(size=(2 * COUNT, 16)) + 10.0 * attacked[:, None] * (np.arange(16) < 3)
    noise = rng.random(2 * COUNT) < 0.03
    scores = sample_scores(
        label,
        features=features,
        residual_transfer=np.where(attacked & transfers, 0.9, 0.05).astype(np.float32),
        tile_transfer=np.zeros(2 * COUNT, np.float32),
        heldout_logp=np.log(np.where((attacked & disagrees) | noise, 0.01, 0.99)),
        heldout_erased_logp=np.zeros(2 * COUNT),
        heldout_label=np.where((attacked & disagrees) | noise, 2 - label, label),
        logp_drop=np.zeros(2 * COUNT, np.float32),
        thresholds=Thresholds(),
    )
    pattern = attacked[:, None, None, None] * STRIPES
    images = rng.normal(128, 10, (2 * COUNT, 3, 8, 8)) + stripes * pattern
    pixels = FakeImages(images)

    def probability(of: int, change: torch.Tensor) -> float:
        received = (pixels.read(np.flatnonzero(label != of)).float() + change).clamp(0, 255).numpy()
        second = np.where((received * STRIPES).mean((1, 2, 3)) > 4, common, 0.001)
        return float(np.mean({0: 1 - second, 2: second}[of]))

    probe = FakeProbe(
        pixels,
        FakeImages(images - 8 * transfers * pattern),
        probability,
        lambda indices: np.log(np.eye(3)[label[indices]].clip(1e-6, 0.999)),
    )
    return detect(Evidence(scores, probe, Thresholds(), seed=0), ["first", "empty", "second"])


def attacked(found: Detection) -> list[tuple[str, str]]:
    """Name of each label under attack, and the detector that has decided."""
    return [(report.name, report.decided_by.detector) for report in found.reports if report.decided_by]


def test_a_trigger_that_transfers_and_disagreement_in_the_same_samples():
    poisoned = np.arange(COUNT) < 120
    found = detected(poisoned, transfers=True, disagrees=True, common=0.01)
    assert attacked(found) == [("second", "joint")]
    assert ((found.posterior[COUNT:] > 0.5) == poisoned).mean() > 0.97


def test_a_group_that_disagrees_without_a_trigger_that_transfers():
    poisoned = np.arange(COUNT) < 120
    found = detected(poisoned, transfers=False, disagrees=True, common=0.01)
    assert not attacked(found)  # but for a held-out model, which sees nothing here
    tests = {test.detector: test for test in found.reports[1].tests if test.kind == "direct"}
    assert tests["label_disagreement"].score > 0.4
    assert not tests["label_disagreement"].passed
    assert "spectral_split" in tests
    assert any(test.kind == "holdout" for test in found.reports[1].tests)
    assert ((found.posterior[COUNT:] > 0.5) == poisoned).mean() > 0.97


def test_some_hard_samples_are_no_attack():
    found = detected(np.zeros(COUNT, bool), transfers=False, disagrees=True, common=0.01)
    assert not attacked(found)
    assert max(report.direct_score for report in found.reports) < 0.2


def test_a_pattern_that_other_labels_do_not_show():
    poisoned = np.arange(COUNT) < 240
    found = detected(poisoned, transfers=False, disagrees=False, common=0.8, stripes=20)
    assert attacked(found) == [("second", "spectral_split")]
    assert not any(report.pattern for report in found.reports)
    assert ((found.posterior[COUNT:] > 0.5) == poisoned).all()
    assert (found.split_posterior[COUNT:] == found.posterior[COUNT:]).all()


@pytest.mark.parametrize(("stripes", "clear"), [(20, True), (6, True), (4.5, False)])
def test_a_pattern_without_effect_is_no_attack_but_tested_with_a_held_out_model_and_told_if_it_is_clear(
    stripes: float, clear: bool
):
    poisoned = np.arange(COUNT) < 240
    found = detected(poisoned, transfers=False, disagrees=False, common=0.05, stripes=stripes)
    assert not attacked(found)
    assert ((found.split_posterior[COUNT:] > 0.5) == (poisoned & clear)).all()
    assert not found.split_posterior[:COUNT].any()
    tested = [test.detector for test in found.reports[1].tests if test.kind == "holdout"]
    assert ("spectral_split" in tested) == clear
    assert found.reports[0].pattern == ()
    assert found.reports[1].pattern == tuple(COUNT + np.flatnonzero(poisoned & clear))


def test_a_pattern_with_an_effect_is_no_attack_unless_its_groups_lie_apart():
    found = detected(np.arange(COUNT) < 240, transfers=False, disagrees=False, common=0.9, stripes=4.5)
    (test,) = (test for test in found.reports[1].tests if (test.detector, test.kind) == ("spectral_split", "direct"))
    assert (test.score, test.surprise) == (0, 0)
    assert not attacked(found)
    assert found.reports[1].pattern == ()


def test_a_lump_with_an_effect_is_no_attack():
    found = detected(np.arange(COUNT) < 240, transfers=False, disagrees=False, common=0.9, stripes=0)
    assert not attacked(found)
    assert not found.split_posterior.any()


def test_a_label_has_a_report_of_all_detectors_and_the_first_decides_that_is_enough():
    found = detected(np.arange(COUNT) < 120, transfers=True, disagrees=True, common=0.8, stripes=20)
    assert [(report.label, report.samples) for report in found.reports] == [(0, COUNT), (2, COUNT)]
    asked = [[test.detector for test in report.tests] for report in found.reports]
    every = ["joint", "label_disagreement", "shared_trigger", "spectral_split", "unseen_label"]
    assert asked == [every, every]
    assert [test.passed for test in found.reports[1].tests] == [True, False, False, True, False]
    assert found.reports[1].decided_by == found.reports[1].tests[0]
    assert found.reports[1].tests[0].group_size == pytest.approx(120, abs=10)


def shared(
    *,
    stripes: float,
    denied: bool,
    shown: float = 0.1,
    in_first: int = 200,
    covers: tuple[int, ...] = (),
    own_stripes: float = 0,
    learned: float = 0,
    unknown: float = 0,
) -> Detection:
    """What is found in four labels of 200 samples, each with a share that shows stripes of so many grey levels.

    If denied, models take these samples for the label before theirs, whose brightness they have; 1 in 20 others, which
    show no stripes, are taken for another label at random. Nothing transfers, and nothing lies apart in the features.
    In the first label so many samples show stripes at most. Those of `covers` have right labels. Whatever shows the
    last label has `own_stripes`. Of the second label's striped samples models see a share as they are labelled, and
    another label in a share of its others.
    """
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(4), 200)
    striped = rng.random(800) < shown
    striped[np.flatnonzero(striped & (label == 0))[in_first:]] = False
    hard = ~striped & (rng.random(800) < 0.05)
    shows = np.where(striped & denied & ~np.isin(label, covers), (label - 1) % 4, label)
    seen = np.where(hard, (label + rng.integers(1, 4, 800)) % 4, shows)
    seen = np.where(striped & (label == 1) & (rng.random(800) < learned), 1, seen)
    seen = np.where(~striped & (label == 1) & (rng.random(800) < unknown), 2, seen)
    brightness = rng.normal(60 + 40 * shows, 20)
    images = rng.normal(brightness[:, None, None, None], 10, (800, 3, 8, 8))
    levels = stripes * striped + own_stripes * (shows == 3)
    pixels = FakeImages(images + levels[:, None, None, None] * STRIPES)
    nothing = np.zeros(800, np.float32)
    scores = sample_scores(
        label,
        features=rng.normal(size=(800, 16)),
        residual_transfer=nothing,
        tile_transfer=nothing,
        heldout_logp=np.log(np.where(seen == label, 0.99, 0.01)),
        heldout_erased_logp=nothing,
        heldout_label=seen,
        logp_drop=nothing,
        thresholds=Thresholds(),
    )
    probe = FakeProbe(pixels, pixels, log_probabilities=lambda indices: np.log(np.eye(4)[label[indices]].clip(0.01)))
    found = detect(Evidence(scores, probe, Thresholds(), seed=0), ["a", "b", "c", "d"])
    if attacked(found) and not covers:
        assert ((found.posterior > 0.5) == striped).mean() > 0.995
    return found


def test_one_trigger_in_many_labels():
    found = shared(stripes=30, denied=True)
    assert attacked(found) == [(name, "shared_trigger") for name in "abcd"]


def test_a_label_with_few_of_them_is_found_with_the_others():
    found = shared(stripes=30, denied=True, in_first=5)
    assert attacked(found) == [(name, "shared_trigger") for name in "abcd"]
    assert found.reports[0].decided_by
    assert found.reports[0].decided_by.group_size == 5


def test_a_label_that_shows_something_like_the_trigger_by_itself():
    found = shared(stripes=30, denied=True, own_stripes=15)
    assert attacked(found) == [(name, "shared_trigger") for name in "abcd"]


def test_a_label_whose_samples_are_rarely_denied_as_models_have_learned_the_trigger_from_the_rest():
    found = shared(stripes=30, denied=True, learned=0.9)
    assert attacked(found) == [(name, "shared_trigger") for name in "abcd"]


def test_a_label_whose_other_samples_are_denied_as_often():
    found = shared(stripes=30, denied=True, learned=0.3, unknown=0.8)
    assert attacked(found) == [(name, "shared_trigger") for name in "abcd"]


def test_covers_put_no_label_under_attack():
    found = shared(stripes=30, denied=True, covers=(1, 3))
    assert attacked(found) == [(name, "shared_trigger") for name in "ac"]


def test_hard_samples_that_share_nothing_are_no_attack():
    assert not attacked(shared(stripes=0, denied=True))


def test_a_mark_on_samples_whose_labels_are_right_is_no_shared_trigger():
    found = shared(stripes=30, denied=False, shown=0.3)
    assert all(
        test.score < 0.1 for report in found.reports for test in report.tests if test.detector == "shared_trigger"
    )
