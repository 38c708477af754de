"""The run folder: columns in parquet parts, facts, models and images of one run, each under a name of its own."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elixir.data.columns import Columns, StageColumns, write_columns
from elixir.data.decisions import HumanDecision
from elixir.data.files.placing import Link
from elixir.data.image import Picture, decode
from elixir.data.io import reading_again, replace_text
from elixir.data.parallel import cores
from elixir.data.pixels import PixelStore, in_parts
from elixir.data.source import Kind, Source
from elixir.detection.thresholds import Thresholds
from elixir.engine.cost import Cost, Meter, gflop_per_image
from elixir.engine.executor import Executor
from elixir.engine.local import Local
from elixir.engine.memory import give_back
from elixir.engine.models import Models
from elixir.engine.training import Training
from elixir.errors import ElixirError
from elixir.models.classifier import Classifier
from elixir.models.weights import read_weights, write_weights
from elixir.progress import Progress
from elixir.purifiers.base import Purifier
from elixir.training.classifier import ClassifierTraining

START_AGAIN = "add --overwrite without --resume to start again"
OF_SOURCE = "source_"


class StoredImages:
    """The images of all usable samples in a store that has a record for every sample of the source."""

    def __init__(self, store: PixelStore, rows: np.ndarray) -> None:
        self._store = store
        self._rows = rows
        self.shape = store.shape

    def read(self, indices: np.ndarray) -> Tensor:
        """uint8 (n, 3, s, s)."""
        return self._store.read(self._rows[indices])

    def write(self, indices: np.ndarray, images: np.ndarray) -> None:
        """Keep uint8 images (n, 3, s, s)."""
        self._store.write(self._rows[indices], images)


@dataclass
class Run:
    """One run over one source; everything that it has found so far lies in `folder`.

    After the stage `index` a run is about the usable samples only, those that could be decoded and have a label: there
    are `len(run)` of them, and `index` means the position among them, everywhere.

    Args:
        folder: where columns, models and images are kept; made if missing.
        source: the samples.
        purifier: of their images.
        seed: decides every draw and every training.
        device: where the networks run.
        batch_size: samples that a map stage takes at once; has no influence on any result.
        workers: threads that decode; likewise.
        reference: the user's own classifier, or None to train one.
        policy: what becomes of poisoned samples: "relabel", "drop" or "quarantine".
        to: kind of the output.
        shard_bytes: size of its files, where it is parquet; None for as many as in the source.
        link: kind of the links that untouched files become in it; None for copies.
        thresholds: of detection.
        training: what all trainings have in common.
        decisions: of people, by id of the sample.
        progress: where to show it.
        executor: where parts of stages and trainings are carried out.

    Attributes:
        facts: what stages have found about the whole set, by name; plain values.
        meter: counts what the stages cost.
        models: the classifiers.
    """

    folder: Path
    source: Source
    purifier: Purifier
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int = 256
    workers: int = field(default_factory=cores)
    reference: Classifier | None = None
    policy: str = "relabel"
    to: Kind = "folder"
    shard_bytes: int | None = None
    link: Link | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    training: ClassifierTraining = field(default_factory=ClassifierTraining)
    decisions: Mapping[str, HumanDecision] = field(default_factory=dict)
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))
    executor: Executor = field(default_factory=Local)
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._done.mkdir(parents=True, exist_ok=True)
        self.meter = Meter(self.folder / "spent")
        self._provider: dict[str, str] = {}
        records = [(path.stem, json.loads(path.read_text())) for path in self._done.glob("*.json")]
        for stage, record in sorted(records, key=lambda item: item[1]["number"]):  # later stages know better
            self.meter.costs[stage] = Cost(**record["cost"])
            self.facts |= record["facts"]
            self._provider |= dict.fromkeys(record["columns"], stage)

    def __len__(self) -> int:
        """Usable samples."""
        return len(self.rows)

    def __getitem__(self, column: str) -> np.ndarray:
        """A column that an earlier stage has provided, (n, ...); numbers are mapped from a file, read-only.

        Where its stage has not looked at a sample, it holds -1, NaN, False or "". Columns whose names begin with
        "source_" have a value for every sample of the source instead.

        Raises: ElixirError: no stage has provided it.
        """
        if column not in self._provider:
            raise ElixirError(f"no stage has provided {column!r}; a stage that does must come earlier in the pipeline")
        total = len(self.source.samples) if column.startswith(OF_SOURCE) else len(self)
        return self._columns(self._provider[column]).read(column, total)

    @property
    def classes(self) -> list[str]:
        """Names of the labels."""
        return self.source.classes

    @cached_property
    def models(self) -> Models:
        """The classifiers."""
        folder = self.folder / "models"
        return Models(folder, self.classes, self.device, self.meter, self.progress, self.reference)

    @cached_property
    def rows(self) -> np.ndarray:
        """The place of each usable sample in the source, int64, ascending."""
        return np.flatnonzero(self["source_usable"])

    @cached_property
    def labels(self) -> np.ndarray:
        """Given label of each sample, int64."""
        return self.source.samples.labels[self.rows].astype(np.int64)

    def shapes(self, indices: np.ndarray) -> np.ndarray:
        """Height and width of some samples in pixels, int32 (n, 2)."""
        return self._source_shapes[self.rows[indices]]

    @cached_property
    def _source_shapes(self) -> np.ndarray:
        return self["source_shape"]

    def batches(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Samples (int64) in parts of `batch_size`, in order."""
        return in_parts(indices, self.batch_size)

    def ids(self, indices: np.ndarray) -> list[str]:
        """Stable ids of some samples."""
        return [self.source.samples.id(row) for row in self.rows[indices].tolist()]

    def read(self, index: int) -> bytes:
        """The bytes of a sample; see `read_source`."""
        return self.read_source(int(self.rows[index]))

    def read_source(self, row: int) -> bytes:
        """The bytes of a sample of the source that could be read before.

        Raises: ElixirError: they are not what they were.
        """
        id = self.source.samples.id(row)
        with reading_again(id):
            data = self.source.read(row)
        if hashlib.sha256(data).digest() != self._digests[row].tobytes():
            raise ElixirError(f"{id} has changed since the run began; run again with --overwrite, from the start")
        return data

    def picture(self, index: int) -> Picture:
        """A sample in its own size; see `read`."""
        return decode(self.read(index), self.facts["max_pixels"])

    @cached_property
    def _digests(self) -> np.ndarray:
        return self["source_sha256"]

    @cached_property
    def source_pixels(self) -> PixelStore:
        """Every usable sample at the working size, at its place in the source; written by the stage `index`."""
        return PixelStore(self.folder / "pixels.u8", int(self.facts["working_size"]))

    @cached_property
    def pixels(self) -> StoredImages:
        """Every sample at the working size."""
        return StoredImages(self.source_pixels, self.rows)

    @cached_property
    def purified(self) -> StoredImages:
        """Purified images at the working size."""
        store = PixelStore(self.folder / "purified.u8", int(self.facts["working_size"]))
        return StoredImages(store, self.rows)

    def train(self, *trainings: Training) -> None:
        """Train classifiers that do not depend on each other, and keep them; those that are kept are left as they are.

        Raises: ElixirError: there are no samples.
        """
        self.executor.train(self, trainings)
        give_back()

    def purify(self, images: Tensor, sigma: float, noise: Tensor) -> Tensor:
        """One draw of the purifier, with its cost counted; see `Purifier.purify`."""
        with self.purifying(images):
            return self.purifier.purify(images, sigma, noise)

    def purifying(self, images: Tensor, calls: int = 1) -> AbstractContextManager[Cost]:
        """Count the enclosed time, and `calls` calls of the purifier on images (n, 3, h, w).

        Its GFLOP are those at the working size, in proportion to the pixels: to count them for every size takes time.
        """
        nfe, size = calls * self.purifier.nfe, self.pixels.shape
        gflop = gflop_per_image(getattr(self.purifier, "net", None), size)
        return self.meter.network(len(images) * nfe, nfe * gflop * images.numel() / math.prod(size))

    @property
    def output(self) -> Path:
        """Where the stage `write` builds the result."""
        return self.folder / "output"

    def repaired_path(self, index: int) -> Path:
        """Where the repaired image of a sample is kept, as PNG."""
        return self.folder / "repaired" / f"{index:08d}.png"

    def keep_triggers(self, triggers: Mapping[int, Tensor]) -> None:
        """Keep estimated triggers: label -> float32 (3, s, s) in [0,1] pixel units, at the working size."""
        write_weights(self.triggers_file, {str(label): trigger for label, trigger in triggers.items()})

    @cached_property
    def triggers(self) -> dict[int, Tensor]:
        """The estimated triggers; empty in a recipe that estimates none."""
        if not self.triggers_file.exists():
            return {}
        return {int(label): trigger for label, trigger in read_weights(self.triggers_file)[0].items()}

    @property
    def triggers_file(self) -> Path:
        """Where the estimated triggers are kept, as safetensors by number of their label."""
        return self.folder / "triggers.safetensors"

    def keep_calibration(self, columns: Columns) -> None:
        """Keep what new images are compared with later (see `elixir.detection.calibration`)."""
        write_columns(self.calibration_file, columns)

    @property
    def calibration_file(self) -> Path:
        """Where that is kept, as parquet."""
        return self.folder / "calibration.parquet"

    def has_part(self, stage: str, part: int) -> bool:
        """Whether columns of that part are written."""
        return self._columns(stage).has(part)

    def write_part(self, stage: str, part: int, indices: np.ndarray, columns: Columns) -> None:
        """Keep a stage's columns for some samples (int64), the number `part` of the pieces that it works in."""
        self._columns(stage).write(part, indices, columns)

    def has(self, stage: str) -> bool:
        """Whether a stage has finished."""
        return (self._done / f"{stage}.json").exists()

    def provide(self, stage: str) -> list[str]:
        """Let the columns of a stage be read, of which all parts are written; gives their names."""
        columns = self._columns(stage).names()
        self._provider |= dict.fromkeys(columns, stage)
        return columns

    def finish(self, stage: str) -> None:
        """Remember that a stage is done, with its cost, its columns and all facts."""
        columns = self.provide(stage)
        number = len(list(self._done.glob("*.json")))
        record = {"number": number, "cost": vars(self.meter.save()), "columns": columns, "facts": self.facts}
        replace_text(self._done / f"{stage}.json", json.dumps(record))
        give_back()

    def _columns(self, stage: str) -> StageColumns:
        return StageColumns(self.folder / "columns" / stage, START_AGAIN)

    @property
    def _done(self) -> Path:
        return self.folder / "done"
