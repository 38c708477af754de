"""Results of an experiment as Markdown tables and as a page."""

from __future__ import annotations

from pathlib import Path

from elixir.data.io import replace_text
from elixir.data.paths import printable
from elixir.evaluation.defences import BASELINES, UNDEFENDED, UNPOISONED
from elixir.evaluation.results import Row, Share
from elixir.measurement.tables_and_charts import table
from elixir.pages import render

DETECTION = ("TPR", "FPR", "relabel accuracy")
COLUMNS = (
    "attack, share", "defence", "PSNR", "NFE", "AUC", *DETECTION, "residual", "ACC", "ASR", "RA", "DER", "seeds",
)  # fmt: skip
MARKS = ("<!-- results -->", "<!-- end of results -->")
OVERVIEW_MARKS = ("<!-- overview -->", "<!-- end of overview -->")
RECIPE = "dataelixir"
"""Whose detection the overview shows."""
COLOURS = {UNDEFENDED: "#c0504d", UNPOISONED: "#9aa5b1", "oracle": "#9aa5b1"}
"""Of the bars, where not that of a defence."""


def markdown(experiments: list[list[Row]]) -> str:
    """A table for each experiment, with a line for every trial; shares in per cent, means over the seeds."""
    return "\n".join(_table(rows) for rows in experiments)


def overview(experiments: list[list[Row]]) -> str:
    """A table for each experiment, with a line for every attack; shares in per cent, means over the seeds.

    Beside the detection of the default recipe stand "ASR / ACC" of classifiers trained on what it has left, and on what
    the baselines have; behind the recipe's ASR its exact 95% interval for one classifier.
    """
    return "\n".join(_overview(rows) for rows in experiments)


def _overview(rows: list[Row]) -> str:
    trials = {(row.poisoning, row.pipeline): row for row in rows}
    order = dict.fromkeys([UNDEFENDED, RECIPE, *BASELINES])
    defences = [name for name in order if any(pipeline == name for _, pipeline in trials)]
    lines: list[list[str]] = []
    for poisoning in dict.fromkeys(row.poisoning for row in rows):
        cleaned = trials.get((poisoning, RECIPE))
        detected = [None] * len(DETECTION) if cleaned is None else _detected(cleaned)
        learned = [_learned(trials.get((poisoning, defence)), defence == RECIPE) for defence in defences]
        lines.append([poisoning, *map(_text, [*detected, *learned])])
    return table(_about(rows), ["attack, share", *DETECTION, *defences], lines)


def _learned(row: Row | None, interval: bool) -> str | None:
    """What a fresh classifier has learned, as "ASR / ACC"; ACC alone without an attack."""
    if row is None or row.accuracy is None:
        return None
    if row.asr is None:
        return _text(row.accuracy)
    around = f" ({100 * row.asr.low:.2f} to {100 * row.asr.high:.2f})" if interval else ""
    return f"{_text(row.asr)}{around} / {_text(row.accuracy)}"


def write_page(path: Path, experiments: list[list[Row]]) -> None:
    """Write one HTML file without scripts or outside resources: tables with intervals, bars."""
    shown = [{"about": _about(rows), "cells": [_cells(row) for row in rows], "rows": rows} for rows in experiments]
    replace_text(
        path, render("results.html.j2", title="elixir evaluate", columns=COLUMNS, colours=COLOURS, experiments=shown)
    )


def _table(rows: list[Row]) -> str:
    return table(_about(rows), COLUMNS, [[_text(cell) for cell in _cells(row)] for row in rows])


def _about(rows: list[Row]) -> str:
    first = rows[0].trial
    aim = "all to all" if first["target"] is None else f'target "{printable(first["target"])}"'
    data = f"{printable(Path(first['train']).stem)}, {first['samples']} samples"
    machines = sorted({row.trial["machine"]["gpu"] or row.trial["machine"]["cpu"] for row in rows})
    return f"{data}, {aim}, seed {first['seed']}; {', '.join(machines)}"


def _cells(row: Row) -> list[str | Share | None]:
    defended = row.pipeline not in (UNDEFENDED, UNPOISONED)
    return [
        row.poisoning,
        row.pipeline,
        None if row.psnr is None else f"{row.psnr:.1f}",
        None if row.nfe is None else f"{row.nfe:.1f}",
        None if row.auc is None or not defended else f"{row.auc:.4f}",
        *(_detected(row) if defended else [None] * len(DETECTION)),
        None if row.residual is None else f"{row.residual:.2f}",
        row.accuracy,
        row.asr,
        row.robust_accuracy,
        None if row.der is None else f"{row.der:.3f}",
        str(len(row.trial["outcomes"])),
    ]


def _detected(row: Row) -> list[Share | None]:
    """The columns of `DETECTION`."""
    attacked = row.trial["detection"]["poisoned"] > 0
    return [row.tpr if attacked else None, row.fpr, row.relabel_accuracy if attacked else None]


def _text(cell: str | Share | None) -> str:
    if cell is None:
        return ""
    return f"{100 * cell.value:.2f}" if isinstance(cell, Share) else cell
