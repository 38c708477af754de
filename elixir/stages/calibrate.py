"""What all models say of the samples, kept so that new images can be compared with them later."""

from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.detection.calibration import Calibration
from elixir.detection.trigger import trigger_drop
from elixir.engine.models import REFERENCE
from elixir.engine.run import Run
from elixir.engine.stage import MapStage


@dataclass
class CalibrateStage(MapStage):
    """Keeps the held-out readings of all samples, and how far each depends on the estimated triggers.

    `elixir scan NEW --against DST` takes its thresholds from them (see `elixir.detection.calibration`).
    """

    name = "calibrate"
    requires = ("pixels", "reference_model", "triggers", "heldout_logp", "heldout_fold", "flagged", "action")
    provides = ("trigger_drop", "calibration")

    def indices(self, run: Run) -> np.ndarray:
        return np.arange(len(run) if run.triggers else 0)

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        found = trigger_drop(
            lambda images: run.models.classify(REFERENCE, images)[0], run.pixels.read(indices), run.triggers
        )
        return {"trigger_drop": np.stack([*found.values()], 1).astype(np.float32)} if found else {}

    def conclude(self, run: Run) -> None:
        is_flagged = run["flagged"]
        calibration = Calibration(
            label=run.labels,
            benign=~is_flagged,
            poisoned=is_flagged & (run["action"] != "kept"),
            heldout_logp=run["heldout_logp"],
            heldout_fold=run["heldout_fold"],
            trigger_drop=dict(zip(run.triggers, run["trigger_drop"].T, strict=True)) if run.triggers else {},
        )
        run.keep_calibration(calibration.columns())
