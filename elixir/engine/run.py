"""The run folder: configuration, columns in parquet parts, models and the pixel cache of one run."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elixir.data.columns import Columns, read_columns, write_columns
from elixir.data.image import Picture, decode
from elixir.data.io import reading_again, replace_text
from elixir.data.pixels import PixelStore
from elixir.data.source import Kind, Source
from elixir.errors import ElixirError
from elixir.models.classifier import Classifier, classify, fused, load_small_classifier, save_classifier
from elixir.models.weights import read_weights, write_weights
from elixir.progress import Progress
from elixir.purifiers.base import Purifier
from elixir.training.classifier import ClassifierTraining, ReadPixels, train_classifier

START_AGAIN = "add --overwrite without --resume to start again"


@dataclass
class Cost:
    """What one stage has spent: wall seconds, seconds inside networks, and purifier calls."""

    seconds: float = 0.0
    network_seconds: float = 0.0
    calls: int = 0


@dataclass
class Run:
    """One run over one source; everything that it has found so far lies in `folder`.

    Args:
        folder: where columns, models and the pixel cache are kept; made if missing.
        source: the samples.
        purifier: of their images.
        seed: decides every draw and every training.
        device: where the networks run.
        batch_size: samples that a map stage takes at once; has no influence on any result.
        reference: the user's own classifier, or None to train one.
        policy: what becomes of poisoned samples: "relabel", "drop" or "quarantine".
        to: kind of the output.
        progress: where to show it.
        costs: of each stage so far.
        findings: what stages have found about the whole set, by name; plain values.
    """

    folder: Path
    source: Source
    purifier: Purifier
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int = 256
    reference: Classifier | None = None
    policy: str = "relabel"
    to: Kind = "folder"
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))
    costs: dict[str, Cost] = field(default_factory=dict)
    findings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in ("done", "spent"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        self._stage, self._start = "", 0.0
        self._classifiers: dict[str, Classifier] = {} if self.reference is None else {"reference": self.reference}
        records = [(path.stem, json.loads(path.read_text())) for path in (self.folder / "done").glob("*.json")]
        for name, record in sorted(records, key=lambda item: item[1]["number"]):  # later stages know better
            self.costs[name] = Cost(**record["cost"])
            self.findings |= record["findings"]

    @property
    def classes(self) -> list[str]:
        """Names of the labels."""
        return self.source.classes

    def readable_rows(self) -> np.ndarray:
        """Rows (int64) of the samples that could be decoded and carry a label."""
        return self._readable

    @cached_property
    def _readable(self) -> np.ndarray:
        return np.flatnonzero(self.column("index", "readable"))

    @cached_property
    def shapes(self) -> np.ndarray:
        """Height and width of every sample in pixels, int32 (n, 2); 0 where it could not be decoded."""
        return self.column("index", "shape")

    @cached_property
    def labels(self) -> np.ndarray:
        """Given label of every sample, int64, -1 where there is none."""
        return np.array([sample.label for sample in self.source.samples], np.int64)

    def read(self, row: int) -> bytes:
        """The bytes of a sample that the index stage could read.

        Raises:
            ElixirError: they are not what they were.
        """
        id = self.source.samples[row].id
        with reading_again(id):
            data = self.source.read(row)
        if hashlib.sha256(data).hexdigest() != self._digests[row]:
            raise ElixirError(f"{id} has changed since the run began; run again with --overwrite, from the start")
        return data

    def picture(self, row: int) -> Picture:
        """A readable sample in its own size; see `read`."""
        return decode(self.read(row), self.findings["max_pixels"])

    @cached_property
    def _digests(self) -> np.ndarray:
        return self.column("index", "sha256")

    def ids(self, rows: np.ndarray) -> list[str]:
        """Stable ids of some rows."""
        return [self.source.samples[int(row)].id for row in rows]

    @cached_property
    def pixels(self) -> PixelStore:
        """Every readable sample at the working size, as written by the index stage."""
        return PixelStore(self.folder / "pixels.u8", int(self.findings["working_size"]))

    @cached_property
    def purified(self) -> PixelStore:
        """Purified images at the working size: one draw of every readable sample by the probe stage, or chosen ones."""
        return PixelStore(self.folder / "purified.u8", int(self.findings["working_size"]))

    @property
    def output(self) -> Path:
        """Where the emit stage builds the result."""
        return self.folder / "output"

    def selected_path(self, row: int) -> Path:
        """Where the select stage keeps the new image of a suspect, as PNG."""
        return self.folder / "selected" / f"{row:08d}.png"

    def keep_triggers(self, triggers: Mapping[int, Tensor]) -> None:
        """Keep estimated triggers: label -> float32 (3, s, s) in [0,1] pixel units, at the working size."""
        write_weights(self._triggers, {str(label): trigger.contiguous() for label, trigger in triggers.items()})

    @cached_property
    def triggers(self) -> dict[int, Tensor]:
        """What the trigger stage has kept; empty in a recipe without it."""
        if not self._triggers.exists():
            return {}
        return {int(label): trigger for label, trigger in read_weights(self._triggers)[0].items()}

    @property
    def _triggers(self) -> Path:
        return self.folder / "triggers.safetensors"

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """Where rows stand among the readable ones, int64."""
        return np.searchsorted(self.readable_rows(), rows)

    @contextmanager
    def network(self, calls: int = 0) -> Iterator[None]:
        """Count the enclosed time as spent inside networks, and `calls` purifier evaluations."""
        start = time.perf_counter()
        yield
        cost = self.costs[self._stage]
        cost.network_seconds += time.perf_counter() - start
        cost.calls += calls

    def train(
        self,
        name: str,
        read: ReadPixels,
        rows: np.ndarray,
        labels: np.ndarray,
        settings: ClassifierTraining,
        initial: str | None = None,
        classes: list[str] | None = None,
    ) -> None:
        """Train a classifier and keep it under `name`; nothing is done when an earlier run has kept it.

        Args:
            name: under which `classify` finds it.
            read: maps entries of `rows` to uint8 images.
            rows: int64 (n,).
            labels: int64 (n,).
            settings: of the training.
            initial: name of the kept classifier whose weights it starts from; random ones by default.
            classes: names of the labels; those of the dataset by default.

        Raises:
            ElixirError: there are no rows.
        """
        path = self._model(name)
        if path.exists():
            return
        if not len(rows):
            raise ElixirError(f"no image is left to train the {name} model on; are most of the labels under attack?")
        path.parent.mkdir(parents=True, exist_ok=True)
        classes = classes or self.classes
        with self.network(), self.progress.task(name, settings.passes(len(rows))) as advance:
            net = train_classifier(
                read,
                rows,
                labels,
                len(classes),
                settings,
                path.with_suffix(".checkpoint"),
                lambda epoch, accuracy: advance(1),
                self.device,
                None if initial is None else load_small_classifier(path.with_name(f"{initial}.safetensors")),
            )
        save_classifier(net, path, classes)
        self.note_cost()

    def _model(self, name: str) -> Path:
        return self.folder / "models" / f"{name}.safetensors"

    def copy_model(self, name: str, to: str) -> None:
        """Keep a classifier under another name as well."""
        save_classifier(load_small_classifier(self._model(name)), self._model(to), self.classes)

    def classify(self, name: str, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities (n, k) and features (n, d) of uint8 images, float32, by the classifier of that name."""
        if name not in self._classifiers:
            self._classifiers[name] = fused(load_small_classifier(self._model(name))).to(self.device)
        logp, features = classify(self._classifiers[name], images, self.device)
        return logp.numpy(), features.numpy()

    def columns(self, stage: str) -> Columns:
        """All columns that a finished stage has written, in order of its rows, with the column `row`.

        Raises:
            ElixirError: the stage has not run.
        """
        return read_columns(self._parts(stage), START_AGAIN)

    def column(self, stage: str, name: str) -> np.ndarray:
        """One of the columns that a finished stage has written.

        Raises:
            ElixirError: the stage has not run.
        """
        return read_columns(self._parts(stage), START_AGAIN, name)[name]

    def has_part(self, stage: str, part: int) -> bool:
        """Whether columns of that part are written."""
        return (self._columns(stage) / f"{part:06d}.parquet").exists()

    def write_part(self, stage: str, part: int, rows: np.ndarray, columns: Columns) -> None:
        """Keep a stage's columns for some rows (int64), the number `part` of the pieces that it works in."""
        write_columns(self._columns(stage) / f"{part:06d}.parquet", {"row": rows.astype(np.int64), **columns})

    def _parts(self, stage: str) -> list[Path]:
        paths = sorted(self._columns(stage).glob("*.parquet"))
        if not paths:
            raise ElixirError(f"stage {stage!r} has left no columns; it must come earlier in the pipeline")
        return paths

    def _columns(self, stage: str) -> Path:
        return self.folder / "columns" / stage

    def started(self, stage: str) -> None:
        """Begin to count what a stage costs, on top of what an interrupted run has spent on it."""
        self._stage = stage
        self.costs[stage] = Cost(**json.loads(self._spent.read_text())) if self._spent.exists() else Cost()
        self._start = time.perf_counter() - self.costs[stage].seconds

    def note_cost(self) -> None:
        """Remember what the stage at work has cost so far, should the run be interrupted."""
        self.costs[self._stage].seconds = time.perf_counter() - self._start
        replace_text(self._spent, json.dumps(vars(self.costs[self._stage])))

    def finished(self, stage: str) -> None:
        """Remember that a stage is done, with its cost and all findings."""
        self.note_cost()
        number = len(list((self.folder / "done").glob("*.json")))
        record = {"number": number, "cost": vars(self.costs[stage]), "findings": self.findings}
        replace_text(self.folder / "done" / f"{stage}.json", json.dumps(record))

    def has(self, stage: str) -> bool:
        """Whether a stage has finished."""
        return (self.folder / "done" / f"{stage}.json").exists()

    @property
    def _spent(self) -> Path:
        return self.folder / "spent" / f"{self._stage}.json"
