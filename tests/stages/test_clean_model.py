"""What the clean model learns from."""

from pathlib import Path

import numpy as np
import pytest
from fakes import FakeModels, fake_run, provide

from elixir.engine.run import Run
from elixir.stages.clean_model import CleanModelStage


def trained(folder: Path, flagged: np.ndarray, mirrored: float, own_reference: bool = False) -> tuple[Run, FakeModels]:
    """A run after the stage, where held-out models read all images right and so many of the mirrored ones."""
    models = FakeModels(lambda name, images: (np.zeros(0), np.zeros(0)))
    models.own_reference = own_reference
    labels = np.arange(len(flagged)) % 3
    run = fake_run(folder, labels, ["a", "b", "c"], np.zeros((len(flagged), 3, 4, 4), np.uint8), models)
    provide(run, flagged=flagged)
    run.facts["accuracy"] = {"raw": 0.8, "mirrored": mirrored}
    assert not CleanModelStage().reduce(run)
    return run, models


@pytest.mark.parametrize(("accuracy", "mirrored"), [(0.61, True), (0.59, False)])
def test_it_learns_from_what_is_not_flagged_and_from_mirrored_images_where_they_keep_labels(
    tmp_path: Path, accuracy: float, mirrored: bool
):
    flagged = np.arange(30) % 5 == 1
    run, models = trained(tmp_path, flagged, accuracy)
    training = models.trained["clean"]
    assert training.indices.tolist() == np.flatnonzero(~flagged).tolist()
    assert (training.labels == run.labels[~flagged]).all()
    assert (training.settings.flip, training.settings.epochs) == (mirrored, 8 if mirrored else 4)
    assert run.facts["mirrored"] is mirrored
    assert training.settings.seed == 100


def test_it_is_trained_as_the_run_says(tmp_path: Path):
    run, models = trained(tmp_path, np.arange(30) % 5 == 1, 0.5)
    run.training.batch = 32
    settings = CleanModelStage().training(run, 7, epochs=3)
    assert (settings.batch, settings.epochs, settings.least_steps, settings.seed) == (32, 3, 200, 7)
    assert models.trained["clean"].settings.batch == 128


def test_where_nothing_is_flagged_it_is_the_reference_model_unless_that_is_the_users(tmp_path: Path):
    _, models = trained(tmp_path / "ours", np.zeros(9, bool), 0.7)
    assert (models.copied, models.trained) == ({"clean": "reference"}, {})
    _, models = trained(tmp_path / "theirs", np.zeros(9, bool), 0.7, own_reference=True)
    assert not models.copied
    assert models.trained["clean"].indices.tolist() == list(range(9))
