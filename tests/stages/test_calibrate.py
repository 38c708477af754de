"""What is kept of a run so that new images can be compared with it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeModels, fake_run, provide

from elixir.data.columns import read_columns
from elixir.detection.calibration import Calibration
from elixir.engine.execution import execute
from elixir.stages.calibrate import CalibrateStage

COUNT = 12


def bright(name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The log-odds of the second label are the brightness in grey levels."""
    assert name == "reference"
    odds = 255 * images.double().mean((1, 2, 3)).numpy()
    return np.stack([-np.logaddexp(0, odds), -np.logaddexp(0, -odds)], 1), np.zeros((len(odds), 1))


@pytest.mark.parametrize("attacked", [True, False])
def test_flagged_samples_are_benign_for_nobody(tmp_path: Path, attacked: bool):
    images = np.full((COUNT, 3, 4, 4), 9, np.uint8)
    images[:3] = 2
    run = fake_run(tmp_path, np.arange(COUNT) % 2, ["a", "b"], images, FakeModels(bright))
    flagged = np.arange(COUNT) < 4
    action = np.where(flagged, "relabelled", "").astype(object)
    action[3] = "kept"
    logp, fold = -np.arange(COUNT, dtype=np.float16), np.arange(COUNT, dtype=np.int16) % 2
    provide(run, flagged=flagged, action=action, heldout_logp=logp, heldout_fold=fold)
    run.keep_triggers({1: torch.full((3, 4, 4), 5 / 255)} if attacked else {})
    execute(run, CalibrateStage())
    kept = Calibration.of_columns(read_columns(run.calibration_file, "run again"))
    assert kept.benign.tolist() == [False] * 4 + [True] * 8
    assert kept.poisoned.tolist() == [True] * 3 + [False] * 9
    assert kept.label.tolist() == run.labels.tolist()
    np.testing.assert_array_equal(kept.heldout_logp, logp)
    np.testing.assert_array_equal(kept.heldout_fold, fold)
    assert list(kept.trigger_drop) == ([1] if attacked else [])
    if attacked:  # black is the end
        np.testing.assert_allclose(kept.trigger_drop[1], [2.0] * 3 + [5.0] * 9, rtol=1e-4)
