"""The report of a run: what it has found, and every sample that it changed or nearly so, to decide about."""

import json
import shlex
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from elixir.data.io import RUN_FOLDER, replace_text
from elixir.data.manifest import some_rows
from elixir.data.paths import printable, recorded
from elixir.data.sample_writer import CHANGES
from elixir.data.source import listed
from elixir.detection.alarm_rate import rarity
from elixir.detection.reports import LabelReport
from elixir.detection.thresholds import Thresholds
from elixir.pages import render
from elixir.pages.charts import flow, histogram, strips
from elixir.pages.gallery import GAIN, NEAREST, gallery_data, script_json, shown_rows
from elixir.pages.thumbnails import SIDE, Pictures, data_url, fitted, png, write_sheets
from elixir.result import CLEAN_LABEL, AttackedLabel, Result

ACTIONS = ("kept", *CHANGES, "quarantined", "dropped")
LABELS = 50  # lines of the table


def write_report(result: Result, folder: Path, pictures: Pictures, triggers: Mapping[int, Tensor]) -> None:
    """Write `report.html` into the run folder of the output `folder`; the same bytes for the same run.

    Beside it lies `report/` if there are more samples than one page should hold: see
    `elixir.pages.thumbnails.write_sheets`.

    Args:
        result: what was found, and where the output is going to be.
        pictures: the samples' images.
        triggers: estimated for labels under attack: label -> float32 (3, s, s) in [0,1] pixel units.

    Raises: ElixirError: the disk is full, or an image cannot be read any more.
    """
    place = folder / RUN_FOLDER
    rows = shown_rows(result)
    shown = some_rows(result.table.select(["action", "height", "width"]), rows)
    shapes = np.stack([shown["height"].to_numpy(), shown["width"].to_numpy()], axis=1)
    changed = np.isin(np.array(shown["action"].to_pylist(), object), CHANGES)
    sheets = write_sheets(rows, changed, shapes, pictures, place / "report")
    labels = _labels(result)
    style, script = (
        files("elixir.pages").joinpath("templates", f"report.{kind}").read_text() for kind in ("css", "js")
    )
    page = render(
        "report.html.j2",
        title=f"elixir: {printable(str(result.config['source']))}",
        style=Markup(style),
        script=Markup(script),
        hashes={"style": _csp_hash(style), "script": _csp_hash(script)},
        sentence=sentence(result),
        classes=result.described_classes(),
        findings=result.findings(),
        notes=result.notes,
        losses=result.losses() if result.unreadable_files else "",
        attacked=[_attacked(label, triggers) for label in result.attacked],
        clean_label=CLEAN_LABEL,
        side=SIDE,
        gain=GAIN,
        strips=strips(result.labels, _thresholds(result.config)["alarm_rate"]),
        flow=flow(result.table),
        histogram=histogram(_scores(result), _flag_threshold(result.config)),
        nearest=NEAREST,
        samples=len(rows),
        data=script_json(gallery_data(result, rows, sheets)),
        decidable=result.has_dataset,
        folder=_for_a_shell(recorded(result.path or folder)),
        actions=ACTIONS,
        labels=labels[:LABELS],
        more_labels=len(labels[LABELS:]),
        config=json.dumps(result.config, indent=1),
    )
    replace_text(place / "report.html", page)


def sentence(result: Result) -> str:
    """What has happened, in one sentence for people."""
    judged = len(result.labels) - len(result.not_judged)
    if result.attacked:
        names = listed([label.name for label in result.attacked])
        found = f"{names} {'is' if len(result.attacked) == 1 else 'are'} under attack"
    elif not judged:
        found = "Nothing could be judged"
    elif result.not_judged:
        found = f"No label is under attack among the {judged} of {len(result.labels)} that could be judged"
    else:
        found = "No label is under attack"
    done = {
        "relabelled": "given another label" + ("" if result.labels_only else " and freed of the trigger"),
        "purified": "freed of the trigger under the same label",
        "quarantined": "set aside",
        "dropped": "dropped",
        "kept": "left untouched",
    }
    tense = "{n:,} would be {what}" if not (result.has_dataset or result.labels_only) else "{n:,} {was} {what}"
    counts = Counter(result.counts)
    parts = [
        tense.format(n=counts[action], was="was" if counts[action] == 1 else "were", what=what)
        for action, what in done.items()
        if counts[action]
    ]
    listing = ", ".join(parts[:-1]) + (" and " if parts[:-1] else "") + "".join(parts[-1:])
    return f"{found}: of {result.table.num_rows:,} samples {listing}."


def _thresholds(config: Mapping[str, Any]) -> dict[str, float]:
    return vars(Thresholds()) | config.get("thresholds", {})


def _flag_threshold(config: Mapping[str, Any]) -> float | None:
    """Poison score above which a run with these settings has flagged samples; None if it has not by that."""
    return _thresholds(config)["flag_threshold"] if "flag" in config.get("stages", ()) else None


def _for_a_shell(path: str) -> str:
    """A relative path, or an absolute one, as one word that is no option."""
    return shlex.quote(f"./{path}" if path.startswith("-") else path)


def _csp_hash(text: str) -> str:
    """What a content-security policy calls this text of a script or style element."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _scores(result: Result) -> np.ndarray:
    """Poison scores of the samples of attacked labels."""
    of_attacked = np.isin(result.table["label"].to_numpy(), [label.label for label in result.attacked])
    return result.table["poison_score"].to_numpy()[of_attacked]


def _attacked(label: AttackedLabel, triggers: Mapping[int, Tensor]) -> dict[str, Any]:
    trigger = triggers.get(label.label)
    return {
        **vars(label),
        "facts": ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in label.evidence.items()),
        "rarity": "" if label.false_alarms is None else rarity(label.false_alarms),
        "trigger": None if trigger is None else _amplified(trigger),
    }


def _amplified(trigger: Tensor) -> str:
    """URL of a picture of an estimated trigger, grey where it is nothing."""
    levels = (128 + GAIN * 255 * trigger.permute(1, 2, 0).numpy()).round().clip(0, 255).astype(np.uint8)
    return data_url(png(fitted(Image.fromarray(levels), SIDE)))


def _labels(result: Result) -> list[dict[str, Any]]:
    """Every label with its score and its samples by action, the highest score first."""
    counts = result.counts_by_class
    scores = {report.name: report.direct_score for report in result.labels}
    found = {report.name: _found(report) for report in result.labels}
    ranked = sorted(counts, key=lambda name: (-scores.get(name, 0.0), name))
    return [
        {
            "name": name,
            "score": scores.get(name, 0.0),
            "found": found.get(name, ""),
            "counts": [counts[name][key] or "" for key in ACTIONS],
        }
        for name in ranked
    ]


def _found(report: LabelReport) -> str:
    """What is to be said of a label, in a few words."""
    if report.decided_by:
        return "under attack"
    if report.pattern:
        return f"a pattern in {len(report.pattern):,} of {report.samples:,} samples"
    return f"not judged: {report.not_judged}" if report.not_judged else "nothing"
