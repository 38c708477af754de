"""The scores of one sample."""

import numpy as np

from elixir.detection.scores import SampleScores, confidence_drop, is_patch, sample_scores
from elixir.detection.thresholds import Thresholds


def scores(
    residual_transfer: list[float],
    tile_transfer: list[float],
    heldout: list[float],
    erased: list[float],
    drop: list[float],
) -> SampleScores:
    """The table from probabilities of the label, rather than from their logarithms."""
    with np.errstate(divide="ignore"):
        heldout_logp, erased_logp = np.log(heldout), np.log(erased)
    count = len(heldout)
    return sample_scores(
        np.zeros(count, np.int64),
        np.zeros((count, 1)),
        np.array(residual_transfer, np.float32),
        np.array(tile_transfer, np.float32),
        heldout_logp,
        erased_logp,
        np.zeros(count, np.int32),
        np.array(drop),
        Thresholds(),
    )


def test_evidence_rests_on_the_stronger_transfer():
    found = scores([0.9, 0.1, 0.1], [0.2, 0.8, 0.0], [0.3, 0.9, 0.9], [0.0, 0.1, 0.1], [-1.0, 0.0, 0.01])
    np.testing.assert_allclose(found.trigger_transfer, [0.9, 0.8, 0.1], rtol=1e-6)
    np.testing.assert_allclose(found.label_disagreement, [0.7, 0.9, 0.1], rtol=1e-6)  # the third's tile does not count


def test_a_label_that_purification_removes_is_contradicted():
    found = scores([0.0], [0.0], [1.0], [1.0], [3.0])
    np.testing.assert_allclose(found.label_disagreement, 1 - np.exp(-3), rtol=1e-6)
    np.testing.assert_allclose(found.confidence_drop, 1 - np.exp(-3), rtol=1e-6)


def test_models_disagree_where_they_hardly_see_the_label():
    found = scores([0.0] * 3, [0.0] * 3, [0.1, 0.21, 0.9], [0.1] * 3, [0.0] * 3)
    assert found.disagrees.tolist() == [True, False, False]


def test_members_are_the_samples_of_a_label():
    label = np.array([2, 0, 2, 1])
    nothing = np.zeros(4)
    found = SampleScores(label, nothing[:, None], nothing, nothing, nothing.astype(bool), label, nothing)
    assert [found.members(one).tolist() for one in range(4)] == [[1], [3], [0, 2], []]


def test_a_label_that_gets_likelier_has_lost_nothing():
    np.testing.assert_allclose(confidence_drop(np.array([-2.0, 0.0, np.log(2)])), [0, 0, 0.5])


def test_a_patch_carries_the_label_better_than_all_that_purification_takes_away():
    assert is_patch(np.array([0.4, 0.4]), np.array([0.3, 0.5])).tolist() == [False, True]
