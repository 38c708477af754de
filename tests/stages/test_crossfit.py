"""Held-out readings: learned from purified images, and of every raw image by the model that has not seen it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeModels, fake_run, provide

from elixir.detection.tiles import grid
from elixir.engine.execution import execute
from elixir.stages.crossfit import CrossfitStage

COUNT, SIZE = 60, 16
PURIFIED = 100  # is added to every pixel
SPOT = 255


@pytest.mark.parametrize("folds", [2, 3])
def test_a_sample_is_read_by_the_model_that_has_not_seen_it(tmp_path: Path, folds: int):
    """The image of index i has pixels of value i, but for a spot in the tile that carries its label."""
    row = np.arange(COUNT)
    usable = row % 7 != 3
    labels = row[usable] % 2
    indices = np.arange(len(labels))
    tile = indices % len(grid(SIZE, 4))

    def classify(name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities of the label tell the index; those of an image without its spot are less by 1."""
        pixels = (255 * images).round() if images.is_floating_point() else images
        index = pixels.flatten(1).median(1).values.long().numpy()
        assert not set(index) & set(models.trained[name].indices)
        spotted = (pixels == SPOT).flatten(1).any(1).numpy()
        logp = np.full((len(images), 2), -50.0, np.float32)
        logp[np.arange(len(index)), labels[index]] = -index / 64 - ~spotted
        return logp, np.zeros((len(images), 1))

    images = np.broadcast_to(indices[:, None, None, None], (len(labels), 3, SIZE, SIZE)).astype(np.uint8)
    purified = images + PURIFIED
    for index, (top, left, _) in enumerate(np.array(grid(SIZE, 4))[tile]):
        images[index, :, top, left] = SPOT
    models = FakeModels(classify)
    run = fake_run(tmp_path, row % 2, ["first", "second"], images, models, usable=usable)
    run.purified.write(indices, purified.astype(np.uint8))
    provide(run, tile=tile.astype(np.int16))
    stage = CrossfitStage(folds=folds)
    execute(run, stage)
    columns = {name: run[name] for name in stage.provides if name != "accuracy"}
    np.testing.assert_allclose(columns["heldout_logp"], -indices / 64, atol=1e-3)
    np.testing.assert_allclose(columns["heldout_erased_logp"], -indices / 64 - 1, atol=2e-3)
    assert columns["heldout_label"].tolist() == columns["heldout_mirrored_label"].tolist() == labels.tolist()
    for index, fold in enumerate(columns["heldout_fold"].tolist()):
        assert index not in models.trained[f"crossfit-{fold}"].indices
    seen = [training.indices for training in models.trained.values()]
    assert np.array_equal(np.sort(np.concatenate(seen)), np.repeat(indices, folds - 1))
    for training in models.trained.values():
        learned = training.read(training.indices)[:, 0, 0, 0]
        assert torch.equal(learned, torch.from_numpy(training.indices + PURIFIED).to(torch.uint8))
        assert np.array_equal(training.labels, labels[training.indices])
        assert (training.settings.epochs, training.settings.least_steps, training.settings.tint) == (3, 150, 0.2)
        assert training.initial is None  # the reference model has learned the trigger
    assert run.facts["accuracy"] == {"raw": 1.0, "mirrored": 1.0}
