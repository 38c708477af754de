"""What detection asks the networks of a run."""

from pathlib import Path

import numpy as np
import pytest
from fakes import FakeModels, fake_run

from elixir.stages.group_probe import RunProbe
from elixir.training.classifier import ClassifierTraining


def test_a_label_of_which_the_held_out_model_has_seen_less_is_read_as_if_it_had_seen_as_much(tmp_path: Path):
    labels = np.repeat([0, 1, 2], [40, 40, 0])
    read = np.log(np.array([[0.6, 0.3, 0.1]], np.float32))
    models = FakeModels(lambda name, images: (np.repeat(read, len(images), 0), np.zeros((len(images), 1))))
    run = fake_run(tmp_path / "run", labels, ["a", "b", "c"], np.zeros((80, 3, 8, 8), np.uint8), models)
    predict = RunProbe(run, ClassifierTraining()).holdout_model(np.r_[0:40, 40:50], 0)
    logp = predict(np.arange(50, 80))
    assert logp.shape == (30, 3)
    assert logp.dtype == np.float32
    assert np.exp(logp[7]) == pytest.approx([0.6, 0.3 * 4, 0.1])  # a quarter of b was seen, all of a, and there is no c
    assert (logp.argmax(1) == 1).all()
    assert len(predict(np.arange(0))) == 0


def test_a_model_of_half_of_the_labels_learns_these_in_half_the_steps(tmp_path: Path):
    labels = np.repeat([0, 1, 2], 20)
    even = np.log(np.full(3, 1 / 3, np.float32))
    models = FakeModels(lambda name, images: (np.tile(even, (len(images), 1)), np.zeros((len(images), 1))))
    run = fake_run(tmp_path, labels, ["a", "b", "c"], np.zeros((60, 3, 8, 8), np.uint8), models)
    seen = np.flatnonzero(labels != 1)
    predict = RunProbe(run, ClassifierTraining(least_steps=90)).half_model(seen, 1)
    assert list(models.trained) == ["half-1"]
    training = models.trained["half-1"]
    np.testing.assert_array_equal(training.indices, seen)
    np.testing.assert_array_equal(training.labels, labels[seen])
    assert training.settings.least_steps == 45
    np.testing.assert_allclose(predict(np.arange(20, 40)), np.log(1 / 3), rtol=1e-6)
