"""The only file here that knows the code under test: runs a scenario and says what came of it.

Nothing is trained: `Models.train` is shown what a classifier would learn from, and `Models.classify` and
`Models.label_gradient` ask a stand-in. All else is the real pipeline, from the files of the input to those of the
output.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import datasets
import numpy as np
import torch
from golden.readers import Smoother, Traits, occlusion_gradient
from golden.scenario import Outcome, Scenario
from golden.sources import own_classifier, same, write_source
from PIL import Image
from torch import Tensor

from elixir import api
from elixir.data.io import RUN_FOLDER
from elixir.data.restore import restore
from elixir.detection.scores import is_patch
from elixir.engine.models import REFERENCE, Models
from elixir.engine.run import Run
from elixir.errors import ElixirError
from elixir.models import classifier
from elixir.pipeline import Pipeline
from elixir.registry import register
from elixir.result import Result
from elixir.training.classifier import ReadPixels

FLAGGED = "flagged "


@register("purifiers", "golden")
def load_smoother(model: str | None, device: torch.device) -> Smoother:
    return Smoother()


class StandIns:
    """Takes the place of trained classifiers in one run.

    Args:
        scenario: says what they read.
        shake: size of an error that is added to every log-probability, for a look at the margins.
    """

    def __init__(self, scenario: Scenario, shake: float = 0.0) -> None:
        self.trained: dict[str, Any] = {}
        self.read: Counter[str] = Counter()
        self._scenario = scenario
        self._taught: dict[str, dict[int, int]] = {}
        self._shake = shake
        self._random = np.random.default_rng(1)

    def train(
        self,
        models: Models,
        name: str,
        read: ReadPixels,
        rows: np.ndarray,
        labels: np.ndarray,
        settings: Any,
        initial: str | None = None,
        classes: list[str] | None = None,
    ) -> None:
        if not len(rows):
            raise ElixirError("nothing to learn from")
        digest = hashlib.sha256(rows.astype(np.int64).tobytes() + labels.astype(np.int64).tobytes())
        digest.update(read(rows).contiguous().numpy().tobytes())
        counts = np.bincount(labels, minlength=len(classes or models.classes)).tolist()
        how = [settings.seed, settings.epochs, settings.least_steps, settings.learning_rate, settings.flip]
        self.trained[name] = [counts, digest.hexdigest()[:16], *how, initial]
        more = [
            models.classes.index(entry.removeprefix(FLAGGED))
            for entry in (classes or models.classes)[len(models.classes) :]
        ]
        self._taught[name] = dict(zip(more, counts[len(models.classes) :], strict=True))

    def copy(self, models: Models, name: str, to: str) -> None:
        self.trained[to] = [[], name, "copy"]

    def classify(self, models: Models, name: str, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        self.read[name] += len(images)
        traits = Traits(images)
        logp = self._logp(models, name, traits)
        if self._shake:
            logp = logp + self._shake * self._random.uniform(-1, 1, logp.shape).astype(np.float32)
        return logp, self._scenario.features.read(traits)

    def label_gradient(self, models: Models, name: str, images: Tensor, labels: np.ndarray) -> Tensor:
        self.read[f"{name} (gradient)"] += len(images)
        every = np.arange(len(images))
        return occlusion_gradient(lambda x: self._logp(models, name, Traits(x))[every, labels], images)

    def _logp(self, models: Models, name: str, traits: Traits) -> np.ndarray:
        """Log-probability of each class, float32 (n, k), and k more for a recognizer."""
        stem, k = name.rstrip("-0123456789"), len(models.classes)
        if stem == "recognizer" and self._scenario.recognizer:
            return self._scenario.recognizer.read(traits, k, self._taught[name])
        return self._scenario.readers[stem].read(traits, k)


def play(scenario: Scenario, folder: Path, shake: float = 0.0) -> Outcome:
    """Run a scenario in an empty folder."""
    stand_ins = StandIns(scenario, shake)
    tiles: list[int] = []
    real_classify, real_gradient, real_write_part = Models.classify, Models.label_gradient, Run.write_part

    def classify(models: Models, name: str, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        own = scenario.own and name == REFERENCE
        return real_classify(models, name, images) if own else stand_ins.classify(models, name, images)

    def label_gradient(models: Models, name: str, images: Tensor, labels: np.ndarray) -> Tensor:
        own = scenario.own and name == REFERENCE
        return (real_gradient if own else stand_ins.label_gradient)(models, name, images, labels)

    def write_part(run: Run, stage: str, part: int, rows: np.ndarray, columns: dict[str, np.ndarray]) -> None:
        if "tile" in columns:
            patch = is_patch(columns["residual_transfer"], columns["tile_transfer"])
            tiles.extend(np.where(patch, columns["tile"], -1).tolist())
        real_write_part(run, stage, part, rows, columns)

    source, dst = write_source(scenario, folder), folder / "out"
    with (
        patch.object(Models, "train", lambda *args, **more: stand_ins.train(*args, **more)),
        patch.object(Models, "copy", lambda *args: stand_ins.copy(*args)),
        patch.object(Models, "classify", classify),
        patch.object(Models, "label_gradient", label_gradient),
        patch.object(Run, "write_part", write_part),
        patch.object(classifier, "fast_dtype", lambda device: torch.float32),  # the same on every machine
        patch.object(classifier, "training_dtype", lambda device: torch.float32),
    ):
        result = _run(scenario, source, dst)
    findings = json.loads((dst / RUN_FOLDER / "findings.json").read_text())
    attacked = [vars(label) for label in result.attacked]
    restored = -1
    if not scenario.scan:
        restored = restore(dst, folder / "restored")
        assert same(scenario.kind, source, folder / "restored")
    pixels = {} if scenario.scan else _repaired(result)
    return Outcome(
        result.table.to_pydict(), findings, attacked, stand_ins.trained, dict(stand_ins.read), pixels, restored, tiles
    )


def _run(scenario: Scenario, source: Path, dst: Path) -> Result:
    settings = {"index.size": 16, **scenario.settings, "purifier": "golden"}
    pipeline = Pipeline.from_recipe(scenario.recipe, settings)
    options: dict[str, Any] = {"policy": scenario.policy, "seed": scenario.seed, "device": "cpu"}
    if scenario.to:
        options["to"] = scenario.to
    if scenario.own:
        options["reference"] = own_classifier(dst.with_name("own.pt"))
    return (api.scan if scenario.scan else api.sanitize)(source, dst, pipeline=pipeline, **options)


def _repaired(result: Result) -> dict[str, str]:
    """Digests of the pixels of new pictures, by the ids of their samples."""
    rows = [row for row in result.table.to_pylist() if row["output"]]
    images = result.dataset().cast_column("image", datasets.Image(decode=False))["image"]
    found: dict[str, str] = {}
    for row, image in zip(rows, images, strict=True):
        data = image["bytes"] or Path(image["path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["sha256_out"]
        if row["sha256_in"] != row["sha256_out"]:
            pixels = np.asarray(Image.open(io.BytesIO(data)))
            about = f"{pixels.shape} {pixels.dtype}".encode()
            found[row["id"]] = hashlib.sha256(about + pixels.tobytes()).hexdigest()[:16]
    return found
