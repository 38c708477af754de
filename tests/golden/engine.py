"""The only file here that knows the code under test: runs a scenario and says what came of it, in 0.2's names.

Nothing is trained: `Models.train` is shown what a classifier would learn from, and `Models.classify` asks a stand-in.
All else is the real pipeline, from the files of the input to those of the output.
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
from golden import words
from golden.readers import Smoother, Traits
from golden.scenario import Outcome, Scenario
from golden.sources import own_classifier, same, write_source
from PIL import Image
from torch import Tensor

from elixir import api
from elixir.data.restore import restore
from elixir.engine.models import Models
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
        self.rows = np.empty(0, np.int64)
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
        places = self.rows[rows]  # 0.2 counted samples that cannot be read
        digest = hashlib.sha256(places.astype(np.int64).tobytes() + labels.astype(np.int64).tobytes())
        digest.update(read(rows).contiguous().numpy().tobytes())
        old = words.model_of_0_2(name)
        counts = np.bincount(labels, minlength=len(classes or models.classes)).tolist()
        how = [settings.seed, settings.epochs, settings.least_steps, settings.learning_rate, settings.flip]
        self.trained[old] = [counts, digest.hexdigest()[:16], *how, initial and words.model_of_0_2(initial)]
        more = [
            models.classes.index(entry.removeprefix(FLAGGED))
            for entry in (classes or models.classes)[len(models.classes) :]
        ]
        self._taught[old] = dict(zip(more, counts[len(models.classes) :], strict=True))

    def copy(self, models: Models, name: str, to: str) -> None:
        self.trained[words.model_of_0_2(to)] = [[], words.model_of_0_2(name), "copy"]

    def classify(self, models: Models, name: str, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        old, k = words.model_of_0_2(name), len(models.classes)
        self.read[old] += len(images)
        stem = old.rstrip("-0123456789")
        traits = Traits(images)
        if stem in self._scenario.recognizers:
            logp = self._scenario.recognizers[stem].read(traits, k, self._taught[old])
        else:
            logp = self._scenario.readers[stem].read(traits, k)
        if self._shake:
            logp = logp + self._shake * self._random.uniform(-1, 1, logp.shape).astype(np.float32)
        return logp, self._scenario.features.read(traits)


def play(scenario: Scenario, folder: Path, shake: float = 0.0) -> Outcome:
    """Run a scenario in an empty folder."""
    stand_ins = StandIns(scenario, shake)
    tiles: list[int] = []
    real_classify, real_write_part = Models.classify, Run.write_part

    def classify(models: Models, name: str, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        own = scenario.own and name == "reference"
        return real_classify(models, name, images) if own else stand_ins.classify(models, name, images)

    def write_part(run: Run, stage: str, part: int, rows: np.ndarray, columns: dict[str, np.ndarray]) -> None:
        tiles.extend(columns.get("tile", np.empty(0)).tolist())
        if "source_usable" in columns:
            stand_ins.rows = np.append(stand_ins.rows, rows[columns["source_usable"]])
        real_write_part(run, stage, part, rows, columns)

    source, dst = write_source(scenario, folder), folder / "out"
    with (
        patch.object(Models, "train", lambda *args, **more: stand_ins.train(*args, **more)),
        patch.object(Models, "copy", lambda *args: stand_ins.copy(*args)),
        patch.object(Models, "classify", classify),
        patch.object(Run, "write_part", write_part),
        patch.object(classifier, "fast_dtype", lambda device: torch.float32),  # the same on every machine
    ):
        result = _run(scenario, source, dst)
    manifest = words.manifest_of_0_2(result)
    findings = words.findings_of_0_2(result, json.loads((dst / ".elixir" / "findings.json").read_text()))
    restored = -1
    if not scenario.scan:
        restored = restore(dst, folder / "restored")
        assert same(scenario.kind, source, folder / "restored")
    pixels = {} if scenario.scan else _repaired(result)
    return Outcome(manifest, findings, stand_ins.trained, dict(stand_ins.read), pixels, restored, tiles)


def _run(scenario: Scenario, source: Path, dst: Path) -> Result:
    settings = {words.setting(name): value for name, value in {"index.size": 16, **scenario.settings}.items()}
    pipeline = Pipeline.from_recipe(scenario.recipe, {**settings, "purifier": "golden"})
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
