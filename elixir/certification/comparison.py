"""Certifications of the same images with different purifiers, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elixir.certification.accuracy import AVERAGED, accuracies
from elixir.certification.ledger import Row
from elixir.certification.sampling import Certificate
from elixir.data.columns import read_columns
from elixir.data.io import read_json
from elixir.errors import ElixirError
from elixir.measurement.markdown import table

COMMON = ("test", "classifier_sha256", "sigmas", "n0", "n", "alpha", "seed")
HEAD = (
    "purifier",
    "calls a draw",
    "images",
    *(f"r = {radius:g}" for radius in AVERAGED),
    "average",
    "certificates/min",
)


@dataclass(frozen=True)
class Certification:
    """What `certify_dataset` has left in a folder.

    Attributes:
        name: of the folder, for people.
        rows: of all images at all noise levels.
        summary: settings and certified accuracy.
        timings: what it cost, and on what.
    """

    name: str
    rows: list[Row]
    summary: dict[str, Any]
    timings: dict[str, Any]

    def on(self, ids: set[str]) -> dict[str, Any]:
        """Certified accuracy on some of the images; see `accuracies`."""
        rows = [row for row in self.rows if row.id in ids]
        return accuracies(rows, self.summary["settings"]["sigmas"], AVERAGED)


def read_certification(folder: Path) -> Certification:
    """Read a finished certification.

    Raises:
        ElixirError: there is none.
    """
    if not (folder / "summary.json").exists():
        raise ElixirError(f"{folder} holds no finished certification; run the same `elixir certify` again to finish it")
    columns = read_columns([folder / "rows.parquet"], "certify again, into another folder")
    if "radius" not in columns:
        raise ElixirError(f"{folder} holds no certification")
    fields = list(Certificate.__dataclass_fields__)
    rows = [
        Row(
            str(columns["id"][row]),
            int(columns["label"][row]),
            float(columns["sigma"][row]),
            Certificate(**{field: columns[field][row].item() for field in fields}),
        )
        for row in range(len(columns["id"]))
    ]
    summary, timings = (read_json(folder / f"{name}.json", "measure again") for name in ("summary", "timings"))
    return Certification(folder.name, rows, summary, timings)


def comparison(certifications: Sequence[Certification]) -> str:
    """Markdown tables: certified accuracy in per cent, of the best noise level at each radius.

    Certifications of different test sets, or made in different ways, are in different tables. Where one line rests on
    fewer images than another, a second table has all of them on the images they share.
    """
    alike: dict[str, list[Certification]] = {}
    for each in certifications:
        way = [each.summary["settings"].get(key) for key in COMMON]
        alike.setdefault(json.dumps([*way, _hardware(each)]), []).append(each)
    return "\n".join(_tables(Path(same[0].summary["settings"]["test"]).stem, same) for same in alike.values())


def _tables(test: str, same: list[Certification]) -> str:
    ids = [{row.id for row in each.rows} for each in same]
    shared = set.intersection(*ids)
    text = _table(test, same, ids)
    if shared and any(len(each) > len(shared) for each in ids):
        text += "\n" + _table(f"{test}, the images that all have", same, [shared] * len(same))
    return text


def _table(title: str, same: list[Certification], ids: list[set[str]]) -> str:
    settings = same[0].summary["settings"]
    about = f"{title}; sigma {', '.join(f'{sigma:g}' for sigma in settings['sigmas'])}; n = {settings['n']}, "
    about += f"alpha = {settings['alpha']:g}, seed {settings['seed']}; {_hardware(same[0])}"
    lines: list[list[str]] = []
    for each, chosen in zip(same, ids, strict=True):
        accuracy = each.on(chosen)
        calls = each.timings["purifier_calls"] / _draws(each)
        line = [
            each.name,
            f"{calls:.0f}",
            str(len(chosen)),
            *(f"{100 * best['certified']:.1f}" for best in accuracy["best"]),
            f"{100 * accuracy['average']:.2f}",
            f"{each.timings['images_per_minute']:.0f}",
        ]
        lines.append(line)
    return table(about, HEAD, lines)


def _hardware(each: Certification) -> str:
    machine = each.timings["machine"]
    return machine["gpu"] or machine["cpu"]


def _draws(each: Certification) -> int:
    """All draws, with those that chose the labels."""
    return each.timings["draws"] + len(each.rows) * each.summary["settings"]["n0"]
