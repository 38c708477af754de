"""What a finished run has learned: models, triggers, and what these say of its own samples."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from elixir.data.columns import read_columns
from elixir.data.io import RUN_FOLDER, read_json
from elixir.data.manifest import class_names
from elixir.data.paths import escape, printable
from elixir.detection.calibration import Calibration
from elixir.detection.trigger import trigger_drop
from elixir.engine.cost import Meter
from elixir.engine.models import CLEAN, REFERENCE, Models, heldout_model
from elixir.errors import ElixirError, explaining
from elixir.models.weights import read_weights
from elixir.progress import Progress
from elixir.result import read_result

LEAST_BENIGN = 19
"""Samples that can state a false-alarm rate of 5 %."""


class KnownRun:
    """What a finished run has learned.

    Args:
        dst: what `sanitize` or `scan` has written.
        device: where its models run.
        work: folder for what this needs.

    Attributes:
        triggers: label -> estimate, float32 (3, s, s) in [0,1] pixel units.
        not_judged: label -> why it cannot be denied.

    Raises: ElixirError: `dst` is no such folder, or its run has not left what this takes.
    """

    def __init__(self, dst: Path, device: torch.device, work: Path) -> None:
        result = read_result(dst)
        learned = dst / RUN_FOLDER / "models"
        self._result, self._learned = result, learned
        remedy = "scan its input again into a folder (-o), and give that"
        with explaining((KeyError, TypeError, ValueError), f"{escape(str(dst))} cannot be understood", remedy):
            columns = read_columns(self._file("calibration.parquet"), remedy)
            self.calibration = Calibration.of_columns(columns)
            facts = read_json(dst / RUN_FOLDER / "findings.json", remedy)
            self.size, self.max_pixels = int(facts["working_size"]), int(facts["max_pixels"])
            self._mirrored = bool(facts["mirrored"])
            self._folds = 1 + int(self.calibration.heldout_fold.max())
        triggers = read_weights(self._file("triggers.safetensors"))[0]
        self.triggers = {int(label): trigger for label, trigger in triggers.items()}
        for name in (CLEAN, *map(heldout_model, range(self._folds)), *([REFERENCE] if triggers else [])):
            self._file(f"{name}.safetensors")
        self.classes = class_names(result.table)
        few = [label for label in range(len(self.classes)) if self.calibration.benign_count(label) < LEAST_BENIGN]
        self.not_judged = dict.fromkeys(few, f"that run has fewer than {LEAST_BENIGN} clean samples of its class")
        self.not_judged |= {report.label: report.not_judged for report in result.not_judged}
        meter = Meter(work)
        meter.start("against")
        self._models = Models(learned, self.classes, device, meter, Progress(quiet=True))

    def _file(self, name: str) -> Path:
        """A file that the run has left; an ElixirError if it has not."""
        if (self._learned / name).is_file():
            return self._learned / name
        config = self._result.config
        what = f"{escape(str(self._learned / name))} is missing, by which new images are judged"
        made = f"its run was of version {config['version']} with the recipe {printable(config['pipeline'])}"
        own = " and a reference model of your own" if config.get("reference") else ""
        raise ElixirError(f"{what}; {made}{own}: scan its input again with the default recipe (-o DIR), and give DIR")

    def trigger_drop(self, images: Tensor) -> dict[int, np.ndarray]:
        """See `elixir.detection.trigger.trigger_drop`."""
        return trigger_drop(lambda x: self._models.classify(REFERENCE, x)[0], images, self.triggers)

    def heldout_logp(self, images: Tensor, labels: np.ndarray) -> np.ndarray:
        """Log-probabilities of labels (n,) by every cross-fitted model, float32 (n, k)."""
        own = np.arange(len(labels)), labels
        return np.stack([self._models.classify(heldout_model(fold), images)[0][own] for fold in range(self._folds)], 1)

    def clean_reading(self, images: Tensor) -> np.ndarray:
        """Probability of each label by the clean model, float32 (n, k); of mirror images too where it knows them."""
        views = [images, images.flip(-1)] if self._mirrored else [images]
        return np.mean([np.exp(self._models.classify(CLEAN, view)[0]) for view in views], axis=0)
