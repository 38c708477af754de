"""Stand-ins for networks, image stores and the stages before the one under test."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elixir.data.source import Samples
from elixir.detection.probe import LogProbabilities
from elixir.engine.models import Models
from elixir.engine.run import Run
from elixir.purifiers.base import Purifier
from elixir.purifiers.classical import Identity
from elixir.training.classifier import ClassifierTraining, ReadPixels

Classify = Callable[[str, Tensor], tuple[np.ndarray, np.ndarray]]
LabelGradient = Callable[[str, Tensor, np.ndarray], Tensor]
Recognize = Callable[[Mapping[int, np.ndarray]], dict[int, np.ndarray]]


@dataclass
class Training:
    """What a classifier would have been trained on."""

    read: ReadPixels
    indices: np.ndarray
    labels: np.ndarray
    settings: ClassifierTraining
    initial: str | None
    classes: Sequence[str] | None


class FakeModels(Models):
    """Classifiers that are not trained: it remembers what each would have learned, and `classify` is given.

    Args:
        classify: from a name and images, uint8 or float in [0,1], to log-probabilities and features.
        label_gradient: from a name, images and labels to a gradient of their shape; 0 by default.
    """

    def __init__(self, classify: Classify, label_gradient: LabelGradient | None = None) -> None:
        self.trained: dict[str, Training] = {}
        self.copied: dict[str, str] = {}
        self.own_reference = False
        self._classify = classify
        self._label_gradient = label_gradient

    def train(
        self,
        name: str,
        read: ReadPixels,
        indices: np.ndarray,
        labels: np.ndarray,
        settings: ClassifierTraining,
        initial: str | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.trained[name] = Training(read, indices, labels, settings, initial, classes)

    def copy(self, name: str, to: str) -> None:
        self.copied[to] = name

    def classify(self, name: str, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        return self._classify(name, images)

    def label_gradient(self, name: str, images: Tensor, labels: np.ndarray) -> Tensor:
        return self._label_gradient(name, images, labels) if self._label_gradient else torch.zeros_like(images)


class FakeImages:
    """Images in memory, given in grey levels (n, 3, s, s)."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = torch.from_numpy(values.clip(0, 255).astype(np.uint8))
        self.shape = tuple(values.shape[1:])

    def read(self, indices: np.ndarray, /) -> Tensor:
        return self._values[indices]


@dataclass
class FakeProbe:
    """A `GroupProbe` without networks, which remembers what it was asked.

    Args:
        pixels: the images.
        purified: one purification of each.
        probability: of a label on carriers that receive a change.
        log_probabilities: of the held-out model.
        recognize: log-odds by recognizers of the groups.
    """

    pixels: FakeImages = field(default_factory=lambda: FakeImages(np.zeros((0, 3, 8, 8))))
    purified: FakeImages = field(default_factory=lambda: FakeImages(np.zeros((0, 3, 8, 8))))
    probability: Callable[[int, Tensor], float] = lambda label, change: 0.0
    log_probabilities: LogProbabilities = lambda indices: np.zeros((len(indices), 1))
    recognize: Recognize = lambda groups: {}
    seen: list[np.ndarray] = field(default_factory=list)
    halves: list[np.ndarray] = field(default_factory=list)
    groups: list[dict[int, np.ndarray]] = field(default_factory=list)

    def transfer(self, label: int, change: Tensor) -> float:
        return self.probability(label, change)

    def holdout_model(self, seen: np.ndarray, number: int) -> LogProbabilities:
        assert number == len(self.seen)
        self.seen.append(seen)
        return self.log_probabilities

    def half_model(self, seen: np.ndarray, number: int) -> LogProbabilities:
        self.halves.append(seen)
        return self.log_probabilities

    def recognizer_log_odds(self, number: int, groups: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        if not groups:
            return {}
        assert number == len(self.groups)
        self.groups.append(dict(groups))
        return self.recognize(groups)


def provide(run: Run, indices: np.ndarray | None = None, **columns: np.ndarray) -> None:
    """Let an earlier stage have provided these columns; for some samples only if `indices` are given."""
    stage = "-".join(["before", *columns])
    if indices is None:
        indices = np.arange(len(next(iter(columns.values()))))
    run.meter.start(stage)
    run.write_part(stage, 0, indices, columns)
    run.finish(stage)


class NumberedSamples(Samples):
    """Samples that are called by their numbers."""

    def id(self, index: int) -> str:
        return str(index)

    def name(self, index: int) -> str:
        return f"{index}.png"


def fake_run(
    folder: Path,
    labels: np.ndarray,
    classes: list[str],
    images: np.ndarray,
    models: FakeModels,
    purifier: Purifier | None = None,
    usable: np.ndarray | None = None,
    read: Callable[[int], bytes] | None = None,
) -> Run:
    """A run of which the stage index has finished.

    Args:
        folder: of the run.
        labels: of every sample of the source.
        classes: names of the labels.
        images: of the usable samples at the working size, uint8 (n, 3, s, s).
        models: its classifiers.
        purifier: of its images; one that changes nothing by default.
        usable: bool, of every sample of the source; all by default.
        read: gives the bytes of a sample, by its place in the source.
    """
    source: Any = SimpleNamespace(classes=classes, samples=NumberedSamples(labels), read=read)
    facts = {"working_size": images.shape[-1], "max_pixels": 10**6}
    run = Run(folder, source, purifier or Identity(), facts=facts)
    run.models = models
    provide(run, source_usable=np.ones(len(labels), bool) if usable is None else usable)
    run.pixels.write(np.arange(len(run)), images)
    return run
