"""The run folder: configuration, columns in parquet parts, models and the pixel cache of one run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from elixir.data.pixels import PixelStore
from elixir.data.source import Kind, Source
from elixir.errors import ElixirError
from elixir.models.base import Classifier
from elixir.models.classifier import fused, load_small_classifier, save_classifier
from elixir.models.external import load_classifier
from elixir.models.inference import classify
from elixir.models.train_classifier import ClassifierTraining, ReadPixels, train_classifier
from elixir.progress import Progress
from elixir.purifiers.base import Purifier
from elixir.registry import find
from elixir.stages.base import Columns, MapStage, ReduceStage, Stage

PART = 1024


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
        seed: decides every draw and every training.
        device: where the networks run.
        batch_size: samples that a map stage takes at once; has no influence on any result.
        purifier_name: registered name of the purifier.
        prior: weights for the purifier (file, folder or hub name); None takes what the purifier ships.
        reference: the user's own classifier, or None to train one.
        policy: what becomes of poisoned samples: "relabel", "drop" or "quarantine".
        to: kind of the output.
        progress: where to show it.
        costs: of each stage so far.
        findings: what stages have found about the whole set, by name; plain values.
    """

    folder: Path
    source: Source
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int = 256
    purifier_name: str = "prior"
    prior: str | None = None
    reference: str | None = None
    policy: str = "relabel"
    to: Kind = "folder"
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))
    costs: dict[str, Cost] = field(default_factory=dict)
    findings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stage = ""
        self._classifiers: dict[str, Classifier] = {}
        for path in sorted((self.folder / "done").glob("*.json")):
            record = json.loads(path.read_text())
            self.costs[path.stem] = Cost(**record["cost"])
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
        return np.flatnonzero(self.columns("index")["readable"])

    @cached_property
    def shapes(self) -> np.ndarray:
        """Height and width of every sample in pixels, int32 (n, 2); 0 where it could not be decoded."""
        return self.columns("index")["shape"]

    @cached_property
    def labels(self) -> np.ndarray:
        """Given label of every sample, int64, -1 where there is none."""
        return np.array([sample.label for sample in self.source.samples], np.int64)

    def ids(self, rows: np.ndarray) -> list[str]:
        """Stable ids of some rows."""
        return [self.source.samples[int(row)].id for row in rows]

    @cached_property
    def pixels(self) -> PixelStore:
        """Every readable sample at the working size, as written by the index stage."""
        return PixelStore(self.folder / "pixels.u8", int(self.findings["working_size"]))

    @cached_property
    def purified(self) -> PixelStore:
        """One purified draw of every readable sample, as written by the probe stage; record i is readable row i."""
        return PixelStore(self.folder / "purified.u8", int(self.findings["working_size"]))

    @property
    def output(self) -> Path:
        """Where the emit stage builds the result."""
        return self.folder / "output"

    def selected_path(self, row: int) -> Path:
        """Where the select stage keeps the new image of a suspect, as PNG."""
        return self.folder / "selected" / f"{row:08d}.png"

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """Where rows stand among the readable ones, int64."""
        return np.searchsorted(self.readable_rows(), rows)

    @cached_property
    def purifier(self) -> Purifier:
        """The purifier of this run, loaded on first use."""
        return find("purifiers", self.purifier_name)(self.prior, self.device)

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
    ) -> None:
        """Train a classifier and keep it under `name`; nothing is done when an earlier run has kept it.

        Args:
            name: under which `classify` finds it.
            read: maps entries of `rows` to uint8 images.
            rows: int64 (n,).
            labels: int64 (n,).
            settings: of the training.
            initial: name of the kept classifier whose weights it starts from; random ones by default.
        """
        path = self._model(name)
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.network(), self.progress.task(name, settings.passes(len(rows))) as advance:
            net = train_classifier(
                read,
                rows,
                labels,
                len(self.classes),
                settings,
                path.with_suffix(".checkpoint"),
                lambda epoch, accuracy: advance(1),
                self.device,
                None if initial is None else load_small_classifier(path.with_name(f"{initial}.safetensors")),
            )
        save_classifier(net, path, self.classes)

    def _model(self, name: str) -> Path:
        return self.folder / "models" / f"{name}.safetensors"

    def copy_model(self, name: str, to: str) -> None:
        """Keep a classifier under another name as well."""
        save_classifier(load_small_classifier(self._model(name)), self._model(to), self.classes)

    def classify(self, name: str, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities (n, k) and features (n, d) of uint8 images, float32, by the classifier of that name."""
        if name not in self._classifiers:
            if name == "reference" and self.reference is not None:
                model = load_classifier(self.reference, len(self.classes), self.device, self.classes)
            else:
                model = fused(load_small_classifier(self._model(name))).to(self.device)
            self._classifiers[name] = model
        logp, features = classify(self._classifiers[name], images, self.device)
        return logp.numpy(), features.numpy()

    def columns(self, stage: str) -> Columns:
        """All columns that a finished stage has written, in order of its rows, with the column `row`."""
        paths = sorted((self.folder / "columns" / stage).glob("*.parquet"))
        if not paths:
            raise ElixirError(f"stage {stage!r} has left no columns; it must come earlier in the pipeline")
        return _to_arrays(pa.concat_tables([pq.read_table(path, use_threads=False) for path in paths]))

    def has(self, stage: str) -> bool:
        """Whether a stage has finished."""
        return (self.folder / "done" / f"{stage}.json").exists()

    def execute(self, stage: Stage) -> None:
        """Run one stage, or skip it (or its finished parts) when an earlier run has done them."""
        if self.has(stage.name):
            return
        self._stage = stage.name
        cost = self.costs[stage.name] = Cost()
        start = time.perf_counter()
        if isinstance(stage, MapStage):
            self._map(stage)
        elif isinstance(stage, ReduceStage):
            columns = stage.reduce(self)
            if columns:
                self._write_part(stage.name, 0, self.readable_rows(), columns)
        cost.seconds = time.perf_counter() - start
        record = {"cost": vars(cost), "findings": self.findings}
        write_text(self.folder / "done" / f"{stage.name}.json", json.dumps(record))

    def _map(self, stage: MapStage) -> None:
        rows = stage.rows(self)
        folder = self.folder / "columns" / stage.name
        starts = [
            start for start in range(0, len(rows), PART) if not (folder / f"{start // PART:06d}.parquet").exists()
        ]
        stage.open(self)
        with self.progress.task(stage.name, len(rows)) as advance:
            advance(len(rows) - sum(len(rows[start : start + PART]) for start in starts))
            for start in starts:
                part = rows[start : start + PART]
                batches: list[Columns] = []
                for offset in range(0, len(part), self.batch_size):
                    batch = part[offset : offset + self.batch_size]
                    batches.append(stage.process(self, batch))
                    advance(len(batch))
                merged = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
                self._write_part(stage.name, start // PART, part, merged)
        if not len(rows):
            self._write_part(stage.name, 0, rows, {})

    def _write_part(self, stage: str, part: int, rows: np.ndarray, columns: Columns) -> None:
        table = _to_table({"row": rows.astype(np.int64), **columns})
        path = self.folder / "columns" / stage / f"{part:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        pq.write_table(table, partial)
        os.replace(partial, path)


def write_text(path: Path, text: str) -> None:
    """Write a small text file through a temporary name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)


def _to_table(columns: Columns) -> pa.Table:
    arrays: list[pa.Array] = []
    for values in columns.values():
        flat = pa.array(values.reshape(-1) if values.dtype != object else list(values))
        arrays.append(
            pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:]))) if values.ndim > 1 else flat
        )
    shapes = {key: list(values.shape[1:]) for key, values in columns.items() if values.ndim > 1}
    return pa.table(dict(zip(columns, arrays, strict=True))).replace_schema_metadata({"shapes": json.dumps(shapes)})


def _to_arrays(table: pa.Table) -> Columns:
    shapes: dict[str, Sequence[int]] = json.loads((table.schema.metadata or {}).get(b"shapes", b"{}"))
    columns: Columns = {}
    for key in table.column_names:
        column = table.column(key).combine_chunks()
        if key in shapes:
            columns[key] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, *shapes[key])
        else:
            columns[key] = column.to_numpy(zero_copy_only=False)
    return columns
