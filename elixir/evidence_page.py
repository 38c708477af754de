"""A page that shows what a run has found: labels under attack, their triggers, samples before and after."""

from __future__ import annotations

import io
import json
import math
from base64 import b64encode
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from elixir.data.image import decode
from elixir.data.io import replace_text
from elixir.data.paths import printable
from elixir.engine.run import Run
from elixir.result import Result, Target

CHANGES = ("relabelled", "purified")
SHOWN = 24  # samples of each label under attack
LABELS = 50  # lines of the table
SIDE = 96
GAIN = 4
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2530 }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #dde3ea }
th:first-child, td:first-child { text-align: left }
img { width: 96px; image-rendering: pixelated; vertical-align: top }
figure { display: inline-block; width: 200px; margin: 0 1rem 1rem 0; vertical-align: top; overflow-wrap: anywhere }
figcaption { color: #55616e; font-size: 12px; line-height: 1.35 }
pre { background: #f3f5f8; padding: 1rem; overflow-x: auto }
"""


def write_evidence_page(run: Run, result: Result, path: Path) -> None:
    """Write one HTML file without scripts or outside resources; the same bytes for the same run.

    File names and labels are text of strangers: they are escaped, and nothing on the page is a link.

    Args:
        run: whose emit stage has finished.
        result: the same run's.
        path: of the page.
    """
    title = f"elixir: {escape(printable(str(result.config['source'])))}"
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>',
        f"<h1>{title}</h1><p>{result.table.num_rows} samples: {_counted(result.counts)}.</p>",
        f"<p>{escape(result.losses())}.</p>" if result.uncopied else "",
        *(_target(run, target, result.table) for target in result.targets),
        "" if result.targets else "<p>No label is under attack.</p>",
        f"<h2>Labels</h2>{_labels(run, result.table)}",
        f"<h2>Settings</h2><pre>{escape(json.dumps(result.config, indent=1))}</pre></html>\n",
    ]
    replace_text(path, "\n".join(parts))


def _target(run: Run, target: Target, table: pa.Table) -> str:
    facts = ", ".join(f"{escape(name.replace('_', ' '))} {value:.3f}" for name, value in target.evidence.items())
    kind = "; the labels are right, only the trigger is wrong" if target.clean_label else ""
    parts = [
        f"<h2>{escape(printable(target.name))} is under attack</h2>",
        f"<p>{target.suspects} suspects, score {target.score:.3f}, decided by {escape(target.witness)} ({facts})"
        f"{kind}.</p>",
    ]
    trigger = run.triggers.get(target.label)
    if trigger is not None:
        grey = (128 + GAIN * 255 * trigger.permute(1, 2, 0).numpy()).round().clip(0, 255).astype(np.uint8)
        caption = f"<figcaption>estimated trigger, {GAIN} times as strong</figcaption>"
        parts.append(f"<figure>{_image(grey)}{caption}</figure>")
    given, suspicion = table.column("label").to_numpy(), table.column("suspicion").to_numpy()
    actions = np.array(table.column("action").to_pylist())
    readable = table.column("height").to_numpy() > 0
    for heading, kinds, most in (
        ("Changed", CHANGES, SHOWN),
        ("Not in the output", ("quarantined", "dropped"), SHOWN // 2),
    ):
        done = np.isin(actions, kinds)
        places = np.flatnonzero((given == target.label) & done & readable)
        if len(places):
            parts.append(f"<h3>{heading}: {len(places)}</h3>")
            shown = places[np.argsort(-suspicion[places], kind="stable")][:most]
            parts += [_sample(run, *item) for item in zip(shown.tolist(), table.take(shown).to_pylist(), strict=True)]
    return "\n".join(parts)


def _sample(run: Run, place: int, row: dict[str, Any]) -> str:
    pictures = _image(run.picture(place).rgb)
    if row["action"] in CHANGES and run.selected_path(place).exists():
        pictures += " " + _image(decode(run.selected_path(place).read_bytes(), run.findings["max_pixels"]).rgb)
    names = [escape(printable(str(row[key]))) for key in ("class", "new_class", "id")]
    moved = f"{names[0]} &rarr; {names[1]}" if row["action"] == "relabelled" else names[0]
    sure = "" if math.isnan(row["confidence"]) else f", confidence {row['confidence']:.3f}"
    about = f"{moved}<br>suspicion {row['suspicion']:.3f}{sure}, {escape(row['reason'])}<br>{names[2]}"
    return f"<figure>{pictures}<figcaption>{about}</figcaption></figure>"


def _labels(run: Run, table: pa.Table) -> str:
    actions = ("kept", *CHANGES, "quarantined", "dropped")
    groups = table.group_by(["class", "action"]).aggregate([([], "count_all")]).to_pylist()
    counts = {(group["class"], group["action"]): group["count_all"] for group in groups}
    scores = run.findings.get("scores", {})
    ranked = sorted({name for name, _ in counts}, key=lambda name: (-scores.get(name, 0.0), name))
    head = "".join(f"<th>{text}</th>" for text in ("label", "score", *actions))
    lines = [
        f"<tr><td>{escape(printable(name))}</td><td>{scores.get(name, 0.0):.3f}</td>"
        + "".join(f"<td>{counts.get((name, action), '')}</td>" for action in actions)
        + "</tr>"
        for name in ranked[:LABELS]
    ]
    more = f"<p>and {len(ranked) - LABELS} more labels with lower scores</p>" if len(ranked) > LABELS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>{more}"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{counts[action]} {escape(action)}" for action in sorted(counts))


def _image(rgb: np.ndarray) -> str:
    picture = Image.fromarray(rgb)
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return f'<img alt="" src="data:image/png;base64,{b64encode(buffer.getvalue()).decode()}">'
