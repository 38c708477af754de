"""Reports of made-up results."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_world import png
from torch import Tensor

from elixir.data.manifest import ManifestRow, read_manifest, write_manifest
from elixir.detection.reports import LabelReport, LabelTest
from elixir.detection.thresholds import Thresholds
from elixir.pages.report import write_report
from elixir.result import AttackedLabel, Result

NAN = float("nan")
CLASSES = ["cat", "dog", "owl"]
KEPT = ManifestRow(
    id="",
    name="",
    label=0,
    new_label=0,
    output="o",
    action="kept",
    reason="",
    sha256_in="",
    sha256_out="",
    height=8,
    width=8,
    poison_score=0.0,
    flagged=False,
    confidence=NAN,
    seed=0,
    original="",
)
FLAGGED = replace(KEPT, reason="poisoned", poison_score=0.95, flagged=True, confidence=0.9)


def kept(id: str, score: float = 0.0) -> ManifestRow:
    return replace(KEPT, id=id, poison_score=score)


def relabelled(id: str, to: int = 1, score: float = 0.95, confidence: float = 0.9, label: int = 0) -> ManifestRow:
    changed = replace(FLAGGED, id=id, label=label, new_label=to, action="relabelled")
    return replace(changed, poison_score=score, confidence=confidence)


def set_aside(id: str, score: float = 0.95, confidence: float = 0.4) -> ManifestRow:
    aside = replace(FLAGGED, id=id, new_label=-1, action="quarantined", reason="poisoned, label uncertain")
    return replace(aside, poison_score=score, confidence=confidence)


def confirmed(id: str, score: float = 0.2, confidence: float = 0.99) -> ManifestRow:
    return replace(FLAGGED, id=id, reason="confirmed", poison_score=score, confidence=confidence)


def unreadable(id: str) -> ManifestRow:
    aside = replace(KEPT, id=id, action="quarantined", new_label=-1, reason="empty file", height=0, width=0)
    return replace(aside, poison_score=NAN)


def result_of(
    folder: Path, rows: Iterable[ManifestRow], classes: Sequence[str] = CLASSES, attacked: bool = True, **stages: Any
) -> Result:
    """A result with these rows; the first class is under attack unless not `attacked`."""
    (folder / ".elixir").mkdir(parents=True, exist_ok=True)
    path = folder / ".elixir" / "manifest.parquet"
    write_manifest(path, rows, list(classes))
    test = LabelTest("joint", "direct", 2, 0.8, True, {"trigger_transfer": 0.9})
    others = [
        LabelReport(label, name, 5, (LabelTest("joint", "direct", 2, 0.01 * label, False),))
        for label, name in enumerate(classes)
    ]
    first = LabelReport(0, classes[0], 5, (test,), test)
    found = AttackedLabel(0, classes[0], 2, 0.8, "joint", "direct", {"trigger_transfer": 0.9})
    config = {
        "source": "poisoned",
        "fingerprint": "f00",
        "thresholds": vars(Thresholds()),
        "stages": {"flag": {}, "relabel": {}, "write": {"dataset": True}} | stages,
    }
    labels = [first, *others[1:]] if attacked else others
    return Result(folder, [found] if attacked else [], labels, read_manifest(path), {}, config)


class MadePictures:
    """Each sample is of one grey level before, which tells its row, and ten levels brighter after."""

    def __init__(self, size: int = 8) -> None:
        self.size = size
        self.asked: list[int] = []

    def before(self, row: int) -> bytes:
        self.asked.append(row)
        return self._picture(row % 200)

    def after(self, row: int) -> bytes | None:
        return self._picture(row % 200 + 10)

    def _picture(self, level: int) -> bytes:
        return png(np.full((self.size, self.size, 3), level, np.uint8))


def write_made_report(result: Result, triggers: dict[int, Tensor] | None = None) -> str:
    """The page of a result, with made-up pictures; a trigger for the first class by default."""
    assert result.path is not None
    write_report(result, result.path, MadePictures(), {0: torch.zeros(3, 8, 8)} if triggers is None else triggers)
    return (result.path / ".elixir" / "report.html").read_text()
