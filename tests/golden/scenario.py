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
    """One run of version 0.2 and what there is to know about it. All names are those of 0.2, see `golden.words`.

    Args:
        name: of the recording.
        pictures: the set; a picture's place decides its noise.
        readers: by the names of models without numbers, "crossfit" for "crossfit-0" and "crossfit-1".
        recognizers: likewise, of "recognize" and "closer".
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
    recognizers: Mapping[str, Recognizer] = field(default_factory=dict)
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
        findings: about the whole set.
        trained: name of a model -> labels of what it was taught, counted, a digest of rows, labels and pixels, and the
            seed, passes, least steps, learning rate, mirroring and initial model.
        read: name of a model -> number of images that it has read.
        pixels: id of a repaired sample -> digest of its new picture, decoded.
        restored: number of samples that could be restored to what they were; -1 where nothing was written.
        tiles: best tile of every readable sample.
    """

    manifest: dict[str, list[Any]]
    findings: dict[str, Any]
    trained: dict[str, Any]
    read: dict[str, int]
    pixels: dict[str, str]
    restored: int
    tiles: list[int]

    @property
    def targets(self) -> dict[str, dict[str, Any]]:
        """By the name of the class."""
        return {target["name"]: target for target in self.findings["targets"]}

    @property
    def methods(self) -> dict[str, str]:
        """What has decided about each attacked label."""
        return {name: target["witness"] for name, target in self.targets.items()}

    @property
    def actions(self) -> dict[str, int]:
        """How many samples there are of each action."""
        return dict(Counter(self.manifest["action"]))

    @property
    def reasons(self) -> dict[str, int]:
        """How many samples there are of each reason."""
        return dict(Counter(self.manifest["reason"]))

    def rounds(self, model: str) -> int:
        """How often a pair of models like "recognize" was trained."""
        return len([name for name in self.trained if name.startswith(f"{model}-")]) // 2
