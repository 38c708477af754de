"""What a scenario is: a set of pictures, what classifiers make of them, settings, and the path that it is to reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from golden.pictures import CLASSES, Picture
from golden.readers import Features, Reader, Recognizer


@dataclass(frozen=True)
class Scenario:
    """One run and what there is to know about it.

    Args:
        name: of the recording.
        pictures: the set; a picture's place decides its noise.
        readers: by the names of models without numbers, "crossfit" for "crossfit-0" and "crossfit-1".
        recognizer: of the trigger; None where none is trained.
        features: of every model.
        reaches: raises an `AssertionError` where the recording is not of the path that is meant.
        settings: "stage.key" -> value.
        recipe: name of a shipped one.
        policy: "relabel", "drop" or "quarantine".
        seed: of the run.
        kind: of the input: "folder", "parquet" or "hf".
        to: of the output, that of the input by default.
        own: the reference model is a TorchScript file of the user's.
        scan: only look.
        classes: names of the labels.
    """

    name: str
    pictures: list[Picture]
    readers: Mapping[str, Reader]
    reaches: Callable[[Outcome], None]
    recognizer: Recognizer | None = None
    features: Features = field(default_factory=Features)
    settings: Mapping[str, object] = field(default_factory=dict)
    recipe: str = "dataelixir"
    policy: str = "relabel"
    seed: int = 0
    kind: str = "folder"
    to: str | None = None
    own: bool = False
    scan: bool = False
    classes: tuple[str, ...] = CLASSES


@dataclass(frozen=True)
class Outcome:
    """What a run has decided, as plain values.

    Attributes:
        manifest: column -> a value for every sample.
        findings: about the whole set, as published: reports of all labels among them.
        attacked: labels under attack, as `Result.attacked` tells them.
        trained: name of a model -> labels of what it was taught, counted, a digest of rows, labels and pixels, and the
            seed, passes, least steps, learning rate, mirroring and initial model.
        read: name of a model -> number of images that it has read, or that a gradient was asked of.
        pixels: id of a repaired sample -> digest of its new picture, decoded.
        restored: number of samples that could be restored to what they were; -1 where nothing was written.
        tiles: of every readable sample, the tile that carries its label better than what purification takes away, or
            -1: where there is none, chance decides which tile is tried.
    """

    manifest: dict[str, list[Any]]
    findings: dict[str, Any]
    attacked: list[dict[str, Any]]
    trained: dict[str, Any]
    read: dict[str, int]
    pixels: dict[str, str]
    restored: int
    tiles: list[int]

    @property
    def targets(self) -> dict[str, dict[str, Any]]:
        """Labels under attack, by the name of the class."""
        return {label["name"]: label for label in self.attacked}

    @property
    def detectors(self) -> dict[str, str]:
        """Which detector has decided about each attacked label."""
        return {name: label["detector"] for name, label in self.targets.items()}

    def scores(self, name: str, kind: str) -> dict[str, float]:
        """The scores of all tests of one kind, "direct" or "holdout", that were made of a label, by detector."""
        (report,) = (report for report in self.findings["labels"] if report["name"] == name)
        return {test["detector"]: test["score"] for test in report["tests"] if test["kind"] == kind}

    @property
    def actions(self) -> dict[str, int]:
        """How many samples there are of each action."""
        return dict(Counter(self.manifest["action"]))

    @property
    def reasons(self) -> dict[str, int]:
        """How many samples there are of each reason."""
        return dict(Counter(self.manifest["reason"]))

    def rounds(self, model: str) -> int:
        """How often a pair of models like "recognizer" was trained."""
        return len([name for name in self.trained if name.startswith(f"{model}-")]) // 2
