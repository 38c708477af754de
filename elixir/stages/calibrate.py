"""What all models say of the samples, kept so that new images can be compared with them later."""

from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.data.pixels import blocks
from elixir.detection.calibration import Calibration
from elixir.detection.trigger import trigger_drop
from elixir.engine.models import REFERENCE
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage


@dataclass
class CalibrateStage(ReduceStage):
    """Keeps the held-out readings of all samples, and how far each depends on the estimated triggers.

    `elixir scan NEW --against DST` takes its thresholds from them (see `elixir.detection.calibration`).
    """

    name = "calibrate"
    requires = ("pixels", "reference_model", "triggers", "heldout_logp", "heldout_fold", "flagged", "action")
    provides = ("calibration",)

    def reduce(self, run: Run) -> Columns:
        drops = {label: np.empty(len(run), np.float32) for label in run.triggers}
        for block in blocks(np.arange(len(run)), run.pixels.shape) if drops else ():
            found = trigger_drop(
                lambda images: run.models.classify(REFERENCE, images)[0], run.pixels.read(block), run.triggers
            )
            for label, drop in found.items():
                drops[label][block] = drop
        is_flagged = run["flagged"]
        calibration = Calibration(
            label=run.labels,
            benign=~is_flagged,
            poisoned=is_flagged & (run["action"] != "kept"),
            heldout_logp=run["heldout_logp"],
            heldout_fold=run["heldout_fold"],
            trigger_drop=drops,
        )
        run.keep_calibration(calibration.columns())
        return {}
