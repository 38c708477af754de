"""Results of trials: read from their files, summed up over their seeds, shown as Markdown tables and as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elixir.data.io import replace_text
from elixir.data.paths import printable
from elixir.errors import ElixirError, explaining
from elixir.evaluation.baselines import BASELINES, UNDEFENDED, UNPOISONED
from elixir.evaluation.defences import defence_name
from elixir.measurement.tables_and_charts import table
from elixir.pages import render
from elixir.statistics import binomial_interval

DETECTION = ("TPR", "FPR", "relabel accuracy")
COLUMNS = (
    "attack, share", "defence", "PSNR", "NFE", "AUC", *DETECTION, "residual", "ACC", "ASR", "RA", "DER", "seeds",
)  # fmt: skip
MARKS = ("<!-- results -->", "<!-- end of results -->")
OVERVIEW_MARKS = ("<!-- overview -->", "<!-- end of overview -->")
RECIPE = "dataelixir"  # whose detection the overview shows
COLOURS = {UNDEFENDED: "#c0504d", UNPOISONED: "#9aa5b1", "oracle": "#9aa5b1"}
"""Of the bars, where not that of a defence."""


@dataclass(frozen=True)
class Share:
    """A share in [0,1], the mean over the seeds, with the exact 95% interval for as many samples as one seed has."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, count: int) -> Share:
        """A share of that many samples; without samples the interval is everything."""
        return cls(value, *binomial_interval(round(value * count), count))


@dataclass(frozen=True)
class Row:
    """One trial; for shares and `auc` see `Recovery` and `Outcome`. None is what there was nothing to measure with.

    Attributes:
        psnr: of the trigger, mean over some images, in dB.
        residual: how much of the trigger repaired images still have: the median, in older trials the mean.
        nfe: network evaluations of the purifier a sample; None for a baseline.
        der: defence effectiveness rate against training on the poisoned set; None where that trial is missing, or is
            about another poisoned set or training.
    """

    poisoning: str
    pipeline: str
    psnr: float | None
    tpr: Share
    fpr: Share
    relabel_accuracy: Share
    residual: float | None
    auc: float | None
    nfe: float | None
    accuracy: Share | None
    asr: Share | None
    robust_accuracy: Share | None
    der: float | None
    trial: dict[str, Any]


def read_rows(folder: Path) -> list[Row]:
    """All trials of a folder, by attack, rate and pipeline; an ElixirError without any, or for any other file."""
    rows: list[tuple[tuple[Any, ...], Row]] = []
    for path in sorted(folder.glob("*.json")):
        what = f"{path} is no result of `elixir evaluate`"
        with explaining((ValueError, LookupError, TypeError, AttributeError), what):
            trial = json.loads(path.read_text())
            name = path.stem.removesuffix(f"-{defence_name(trial['pipeline'], trial.get('subset'))}")
            rows.append(((trial["rate"] == 0, trial["attack"], name, trial["pipeline"]), _row(name, trial)))
    if not rows:
        raise ElixirError(f"{folder} holds no results of `elixir evaluate`")
    undefended = {row.poisoning: row for _, row in rows if row.trial["pipeline"] == UNDEFENDED}
    ordered = [row for _, row in sorted(rows, key=lambda item: item[0])]
    return [replace(row, der=_der(row, undefended.get(row.poisoning))) for row in ordered]


def agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two records have the same values for all keys of both; older ones have fewer."""
    return all(one[key] == other[key] for key in one.keys() & other.keys())


def defence_effectiveness(asr: tuple[float, float], accuracy: tuple[float, float]) -> float:
    """DER in [0,1]: [max(0, fall of ASR) - max(0, fall of ACC) + 1] / 2; pairs are before and after."""
    return (max(0.0, asr[0] - asr[1]) - max(0.0, accuracy[0] - accuracy[1]) + 1) / 2


def _der(row: Row, before: Row | None) -> float | None:
    """Only of trials of the same poisoned set and training, as far as is known."""
    if before is None or not agree(before.trial.get("training", {}), row.trial.get("training", {})):
        return None
    if len({trial.get("poisoned_sha256") for trial in (before.trial, row.trial)} - {None}) > 1:
        return None
    if not (row.accuracy and row.asr and before.accuracy and before.asr):
        return None
    return defence_effectiveness((before.asr.value, row.asr.value), (before.accuracy.value, row.accuracy.value))


def _row(name: str, trial: dict[str, Any]) -> Row:
    """All but `der`, for which it takes another trial."""
    detection, outcomes, repair = trial["detection"], trial["outcomes"], trial["repair"] or {"repaired": 0}
    accuracy, asr, robust = None, None, None
    if outcomes:
        accuracy = Share.of(_mean(outcomes, "accuracy"), outcomes[0]["tested"])
    if accuracy and outcomes[0]["asr"] is not None:
        asr, robust = (Share.of(_mean(outcomes, key), outcomes[0]["triggered"]) for key in ("asr", "robust_accuracy"))
    return Row(
        poisoning=name,
        pipeline=defence_name(trial["pipeline"], trial.get("subset")),
        psnr=(trial["trigger"] or {}).get("psnr"),
        tpr=Share.of(detection["tpr"], detection["poisoned"]),
        fpr=Share.of(detection["fpr"], detection["clean"]),
        relabel_accuracy=Share.of(detection["relabel_accuracy"], detection["poisoned"]),
        residual=repair.get("trigger_residual_median", repair["trigger_residual"]) if repair["repaired"] else None,
        auc=detection["auc"],
        nfe=trial["cost"].get("nfe_per_sample"),
        accuracy=accuracy,
        asr=asr,
        robust_accuracy=robust,
        der=None,
        trial=trial,
    )


def _mean(outcomes: Sequence[dict[str, Any]], key: str) -> float:
    return sum(outcome[key] for outcome in outcomes) / len(outcomes)


def markdown(experiments: list[list[Row]]) -> str:
    """A table for each experiment, with a line for every trial; shares in per cent, means over the seeds."""
    lines = ([[_text(cell) for cell in _cells(row)] for row in rows] for rows in experiments)
    return "\n".join(table(_about(rows), COLUMNS, cells) for rows, cells in zip(experiments, lines, strict=True))


def overview(experiments: list[list[Row]]) -> str:
    """A line for every attack: detection and ASR interval of `RECIPE`, and "ASR / ACC" after all defences."""
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
    names = {"title": "elixir evaluate", "columns": COLUMNS, "colours": COLOURS}
    replace_text(path, render("results.html.j2", **names, experiments=shown))


def _about(rows: list[Row]) -> str:
    first = rows[0].trial
    aim = "all to all" if first["target"] is None else f'target "{printable(first["target"])}"'
    data = f"{printable(Path(first['train']).stem)}, {first['samples']} samples"
    machines = sorted({row.trial["machine"]["gpu"] or row.trial["machine"]["cpu"] for row in rows})
    return f"{data}, {aim}, seed {first['seed']}; {', '.join(machines)}"


def _cells(row: Row) -> list[str | Share | None]:
    defended = row.pipeline not in (UNDEFENDED, UNPOISONED)
    auc = _number(row.auc, 4) if defended else None
    detected = _detected(row) if defended else [None] * len(DETECTION)
    measured = [_number(row.psnr, 1), _number(row.nfe, 1), auc, *detected, _number(row.residual, 2)]
    learned = [row.accuracy, row.asr, row.robust_accuracy, _number(row.der, 3), str(len(row.trial["outcomes"]))]
    return [row.poisoning, row.pipeline, *measured, *learned]


def _number(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


def _detected(row: Row) -> list[Share | None]:
    """The columns of `DETECTION`."""
    attacked = row.trial["detection"]["poisoned"] > 0
    return [row.tpr if attacked else None, row.fpr, row.relabel_accuracy if attacked else None]


def _text(cell: str | Share | None) -> str:
    if cell is None:
        return ""
    return f"{100 * cell.value:.2f}" if isinstance(cell, Share) else cell
