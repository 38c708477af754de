"""A page that shows what a run has found: labels under attack, their triggers, samples before and after."""

import io
import json
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from PIL import Image
from torch import Tensor

from elixir.data.image import decode
from elixir.data.io import replace_text
from elixir.data.paths import printable
from elixir.detection.decide import LabelReport
from elixir.engine.run import Run
from elixir.pages import render
from elixir.result import AttackedLabel, Result

CHANGES = ("relabelled", "purified")
ACTIONS = ("kept", *CHANGES, "quarantined", "dropped")
GROUPS = (("Changed", CHANGES, 24), ("Not in the output", ("quarantined", "dropped"), 12))
"""What is shown of each label under attack: heading, actions, number of samples."""
LABELS = 50  # lines of the table
SIDE = 96  # of a thumbnail, in pixels
GAIN = 4  # how many times as strong the estimated trigger is shown


class Pictures(Protocol):
    """The images of samples, by row of the manifest; asked only for those with a height."""

    def before(self, row: int) -> bytes:
        """Encoded image in the input."""
        ...

    def after(self, row: int) -> bytes | None:
        """Encoded image in the output of a sample that was relabelled or purified; None if it has no other pixels."""
        ...


class RunPictures:
    """The images of a run whose last stage has finished."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def before(self, row: int) -> bytes:
        return self._run.read_source(row)

    def after(self, row: int) -> bytes | None:
        repaired = self._run.repaired_path(int(np.searchsorted(self._run.rows, row)))
        return repaired.read_bytes() if repaired.exists() else None


def write_evidence_page(result: Result, pictures: Pictures, triggers: Mapping[int, Tensor], path: Path) -> None:
    """Write one HTML file about a result; the same bytes for the same result.

    Args:
        triggers: of labels, float32 (3, s, s) in [0,1] pixel units.
    """
    labels = _labels(result)
    page = render(
        "evidence.html.j2",
        title=f"elixir: {printable(str(result.config['source']))}",
        side=SIDE,
        gain=GAIN,
        samples=result.table.num_rows,
        counts=", ".join(f"{count} {action}" for action, count in sorted(result.counts.items())),
        classes=result.described_classes(),
        findings=result.findings(),
        notes=result.notes,
        losses=result.losses() if result.unreadable_files else "",
        attacked=[_attacked(pictures, triggers, label, result.table) for label in result.attacked],
        actions=ACTIONS,
        labels=labels[:LABELS],
        more_labels=len(labels[LABELS:]),
        config=json.dumps(result.config, indent=1),
    )
    replace_text(path, page)


def _attacked(
    pictures: Pictures, triggers: Mapping[int, Tensor], attacked: AttackedLabel, table: pa.Table
) -> dict[str, Any]:
    trigger = triggers.get(attacked.label)
    if trigger is not None:
        trigger = (128 + GAIN * 255 * trigger.permute(1, 2, 0).numpy()).round().clip(0, 255).astype(np.uint8)
    score, actions = table.column("poison_score").to_numpy(), np.array(table.column("action").to_pylist())
    readable = (table.column("label").to_numpy() == attacked.label) & (table.column("height").to_numpy() > 0)
    groups: list[dict[str, Any]] = []
    for heading, kinds, most in GROUPS:
        rows = np.flatnonzero(readable & np.isin(actions, kinds))
        shown = rows[np.argsort(-score[rows], kind="stable")][:most]
        samples = [
            values | {"pictures": _thumbnails(pictures, row, values)}
            for row, values in zip(shown.tolist(), table.take(shown).to_pylist(), strict=True)
        ]
        if samples:
            groups.append({"heading": heading, "count": len(rows), "samples": samples})
    return {
        **vars(attacked),
        "facts": ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in attacked.evidence.items()),
        "trigger": None if trigger is None else _thumbnail(trigger),
        "groups": groups,
    }


def _thumbnails(pictures: Pictures, row: int, values: dict[str, Any]) -> list[str]:
    """Those of a sample: as it was and, if it was changed, as it is."""
    images = (pictures.before(row), pictures.after(row) if values["action"] in CHANGES else None)
    return [_thumbnail(decode(data, values["height"] * values["width"]).rgb) for data in images if data]


def _labels(result: Result) -> list[dict[str, Any]]:
    """Every label with its score and its samples by action, the highest score first."""
    groups = result.table.group_by(["class", "action"]).aggregate([([], "count_all")]).to_pylist()
    counts = {(group["class"], group["action"]): group["count_all"] for group in groups}
    scores = {report.name: report.direct_score for report in result.labels}
    found = {report.name: _found(report) for report in result.labels}
    ranked = sorted({name for name, _ in counts}, key=lambda name: (-scores.get(name, 0.0), name))
    return [
        {
            "name": name,
            "score": scores.get(name, 0.0),
            "found": found.get(name, ""),
            "counts": [counts.get((name, key), "") for key in ACTIONS],
        }
        for name in ranked
    ]


def _found(report: LabelReport) -> str:
    """What is to be said of a label, in a few words."""
    if report.decided_by:
        return "under attack"
    return f"not judged: {report.not_judged}" if report.not_judged else "nothing"


def _thumbnail(rgb: np.ndarray) -> str:
    """A PNG of at most `SIDE` pixels a side, as the address of an image."""
    picture = Image.fromarray(rgb)
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
