"""Which samples the report shows, in which order, and what it says of each."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from elixir.data.manifest import class_names
from elixir.detection.thresholds import Thresholds
from elixir.pages.thumbnails import ACROSS, DOWN, ContactSheets
from elixir.result import Result

CHANGES = ("relabelled", "purified")
NEAREST = 24  # samples of an attacked label that are shown though they are not flagged
GAIN = 4  # how many times as strong differences are shown


def thresholds(config: dict[str, Any]) -> dict[str, float]:
    """Those by which a run with these settings has decided about its samples; a stage that is left out decides none."""
    values = vars(Thresholds()) | config.get("thresholds", {})
    of_stages = {"flag": "flag_threshold", "relabel": "min_label_confidence"}
    return {name: values[name] for stage, name in of_stages.items() if stage in config.get("stages", ())}


def shown_rows(result: Result) -> np.ndarray:
    """Rows of the manifest in the gallery, doubtful ones first, int64 (n,).

    These are all samples that were changed or set aside, those that were flagged and kept, those that somebody has
    decided about, and of each attacked label the `NEAREST` others with the highest poison scores.
    """
    table = result.table
    score, flagged, label = (table[name].to_numpy() for name in ("poison_score", "flagged", "label"))
    chosen = (np.array(table["action"].to_pylist(), object) != "kept") | flagged
    chosen |= np.array(decided(table, "decision"), object).astype(bool)
    for attacked in result.attacked:
        others = np.flatnonzero((label == attacked.label) & ~chosen & ~np.isnan(score))
        chosen[others[np.argsort(-score[others], kind="stable")][:NEAREST]] = True
    rows = np.flatnonzero(chosen)
    margin = margins(score[rows], table["confidence"].to_numpy()[rows], flagged[rows], thresholds(result.config))
    return rows[np.argsort(margin, kind="stable")]


def margins(score: np.ndarray, confidence: np.ndarray, flagged: np.ndarray, limits: dict[str, float]) -> np.ndarray:
    """How clear it is what becomes of each sample, float (n,) in [0,1].

    It is the distance to the nearest threshold that decides about the sample, that of the poison score or, if flagged,
    that of the confidence, as a share of the room on its side: 0 at the threshold, 1 at 0 or 1. Samples of which
    nothing is known, such as unreadable ones, have 1.
    """
    nothing = np.full(len(score), np.nan)
    of_score = _distance(score, limits["flag_threshold"]) if "flag_threshold" in limits else nothing
    of_confidence = (
        _distance(confidence, limits["min_label_confidence"]) if "min_label_confidence" in limits else nothing
    )
    return np.nan_to_num(np.fmin(of_score, np.where(flagged, of_confidence, np.nan)), nan=1.0)


def _distance(value: np.ndarray, threshold: float) -> np.ndarray:
    return np.abs(value - threshold) / np.where(value < threshold, threshold, 1 - threshold)


def decided(table: pa.Table, column: str) -> list[str]:
    """What people have decided about each sample, by whom or when; "" everywhere in a manifest that does not say."""
    return table[column].to_pylist() if column in table.column_names else [""] * table.num_rows


def gallery_data(result: Result, rows: np.ndarray, sheets: ContactSheets) -> dict[str, Any]:
    """All that the script of the page needs, as plain values; columns, as a hundred thousand objects are slow to read.

    Labels, actions and reasons are numbers in the lists of their names, a label -1 for none; what is not known is None.
    """
    table = result.table.take(rows)
    columns = table.to_pydict()
    told = [
        reason or ("flagged" if flagged else "not flagged")
        for reason, flagged in zip(columns["reason"], columns["flagged"], strict=True)
    ]
    actions, action = _numbered(columns["action"])
    reasons, reason = _numbered(told)
    return {
        "classes": class_names(result.table),
        "actions": actions,
        "reasons": reasons,
        "rows": {
            "id": columns["id"],
            "label": columns["label"],
            "newLabel": columns["new_label"],
            "action": action,
            "reason": reason,
            "score": _rounded(columns["poison_score"]),
            "confidence": _rounded(columns["confidence"]),
            "pictures": sheets.present.sum(1).tolist(),
        },
        "decided": {
            place: [decision, columns["new_class"][place], by, at]
            for place, (decision, by, at) in enumerate(
                zip(*(decided(table, name) for name in ("decision", "decided_by", "decided_at")), strict=True)
            )
            if decision
        },
        "sheets": {"across": ACROSS, "down": DOWN, "urls": sheets.urls},
        "gain": GAIN,
        "key": result.config.get("fingerprint", ""),
    }


def script_json(data: dict[str, Any]) -> Markup:
    """JSON for the inside of a script element: no text in it can end the element or begin a comment."""
    return Markup(json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))


def _numbered(names: list[str]) -> tuple[list[str], list[int]]:
    """The different names in order, and the number of each."""
    known = sorted(set(names))
    number = {name: place for place, name in enumerate(known)}
    return known, [number[name] for name in names]


def _rounded(values: list[float]) -> list[float | None]:
    return [None if value != value else round(value, 4) for value in values]
