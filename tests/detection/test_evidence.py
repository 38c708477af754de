"""The two kinds of evidence of one sample."""

import numpy as np

from elixir.detection.evidence import trigger_evidence


def test_evidence_rests_on_the_stronger_cause():
    transplant = np.array([[0.1, 0.9], [0.0, 0.1], [0.0, 0.1]], np.float32)
    tile = np.array([0.2, 0.8, 0.0], np.float32)
    own, without, drop = np.array([0.3, 0.9, 0.9]), np.array([0.0, 0.1, 0.1]), np.array([-1.0, 0.0, 0.01])
    causal, contradiction = trigger_evidence(transplant, tile, own, without, drop)
    np.testing.assert_allclose(causal, [0.9, 0.8, 0.1], rtol=1e-6)
    np.testing.assert_allclose(contradiction, [0.7, 0.9, 0.1], rtol=1e-6)  # the third does not rest on its tile


def test_a_label_that_a_little_noise_removes_is_contradicted():
    _, contradiction = trigger_evidence(
        np.zeros((1, 2), np.float32), np.zeros(1, np.float32), np.ones(1), np.ones(1), np.array([3.0])
    )
    np.testing.assert_allclose(contradiction, 1 - np.exp(-3), rtol=1e-6)
