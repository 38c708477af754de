"""Which samples the report shows, in which order, and what it says of each."""

import json
from typing import Any

import numpy as np
from markupsafe import Markup

from elixir.data.doubt import Doubt
from elixir.data.manifest import class_names, some_rows, where
from elixir.pages.thumbnails import ACROSS, DOWN, ContactSheets
from elixir.result import Result

NEAREST = 24  # samples of an attacked label that are shown though they are not flagged
GAIN = 4  # how many times as strong differences are shown


def shown_rows(result: Result) -> np.ndarray:
    """Rows of the manifest in the gallery, doubtful ones first, int64 (n,); see `elixir.data.doubt`.

    These are all samples that are doubtful, were changed or set aside, or were flagged and kept, those that somebody
    has decided about, and of each attacked label the `NEAREST` others with the highest poison scores.
    """
    table = result.table
    doubt = Doubt.of(table)
    score, flagged, label = (table[name].to_numpy() for name in ("poison_score", "flagged", "label"))
    chosen = doubt.doubtful | flagged | ~where(table, "action", "kept") | ~where(table, "decision", "")
    for attacked in result.attacked:
        others = np.flatnonzero((label == attacked.label) & ~chosen & ~np.isnan(score))
        chosen[others[np.argsort(-score[others], kind="stable")][:NEAREST]] = True
    return doubt.first(np.flatnonzero(chosen))


def gallery_data(result: Result, rows: np.ndarray, sheets: ContactSheets) -> dict[str, Any]:
    """All that the script of the page needs, as plain values; columns, as a hundred thousand objects are slow to read.

    Labels, actions and reasons are numbers in the lists of their names, a label -1 for none; what is not known is None.
    """
    table = some_rows(result.table, rows)
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
                zip(*(columns[name] for name in ("decision", "decided_by", "decided_at")), strict=True)
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
