"""The figures of a cell, summed up over its seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elixir.errors import ElixirError
from elixir.evaluation.cell import defence_name
from elixir.evaluation.claims import agree
from elixir.evaluation.defences import UNDEFENDED
from elixir.statistics import binomial_interval


@dataclass(frozen=True)
class Share:
    """A share in [0,1] with its exact 95% interval (Clopper and Pearson 1934).

    Attributes:
        value: the mean over the seeds.
        low: lower end of the interval, for as many trials as one seed has.
        high: upper end.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, trials: int) -> Share:
        """A share of that many trials; without trials the interval is everything."""
        return cls(value, *binomial_interval(round(value * trials), trials))


@dataclass(frozen=True)
class Row:
    """One cell.

    Attributes:
        poisoning: attack and rate, for people.
        pipeline: recipe or baseline.
        psnr: of the trigger, mean over some images, in dB; None without an attack.
        found: share of poisoned samples changed or set aside (TPR).
        disturbed: share of clean samples changed or set aside (FPR).
        recovered: share of poisoned samples with their true label in the output.
        residual: how much of the trigger repaired images still have: the median, in older cells the mean; None where
            none has been repaired.
        auc: area under the ROC curve of the suspicion; None without an attack.
        calls: network calls a sample; None for a baseline.
        accuracy: ACC on the clean test set; None where nothing was trained.
        asr: attack success rate; None without an attack.
        robust_accuracy: RA; likewise.
        der: defence effectiveness rate against training on the poisoned set; None where that cell is missing, or is
            about another poisoned set or training.
        cell: everything.
    """

    poisoning: str
    pipeline: str
    psnr: float | None
    found: Share
    disturbed: Share
    recovered: Share
    residual: float | None
    auc: float | None
    calls: float | None
    accuracy: Share | None
    asr: Share | None
    robust_accuracy: Share | None
    der: float | None
    cell: dict[str, Any]


def read_rows(folder: Path) -> list[Row]:
    """All cells of a folder, by attack, rate and pipeline.

    Raises:
        ElixirError: there is none, or a file is no cell.
    """
    rows: list[tuple[tuple[Any, ...], Row]] = []
    for path in sorted(folder.glob("*.json")):
        try:
            cell = json.loads(path.read_text())
            name = path.stem.removesuffix(f"-{defence_name(cell['pipeline'], cell.get('subset'))}")
            rows.append(((cell["rate"] == 0, cell["attack"], name, cell["pipeline"]), _row(name, cell)))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ElixirError(f"{path} is no result of `elixir evaluate`: {error}") from error
    if not rows:
        raise ElixirError(f"{folder} holds no results of `elixir evaluate`")
    before = {row.poisoning: row for _, row in rows if row.cell["pipeline"] == UNDEFENDED}
    ordered = [row for _, row in sorted(rows, key=lambda item: item[0])]
    return [replace(row, der=_der(row, before.get(row.poisoning))) for row in ordered]


def defence_effectiveness(asr: tuple[float, float], accuracy: tuple[float, float]) -> float:
    """DER in [0,1]: [max(0, fall of ASR) - max(0, fall of ACC) + 1] / 2; pairs are before and after."""
    return (max(0.0, asr[0] - asr[1]) - max(0.0, accuracy[0] - accuracy[1]) + 1) / 2


def _der(row: Row, before: Row | None) -> float | None:
    if before is None or not _comparable(before.cell, row.cell):
        return None
    if not (row.accuracy and row.asr and before.accuracy and before.asr):
        return None
    return defence_effectiveness((before.asr.value, row.asr.value), (before.accuracy.value, row.accuracy.value))


def _row(name: str, cell: dict[str, Any]) -> Row:
    """All but `der`, for which it takes another cell."""
    detection, outcomes = cell["detection"], cell["outcomes"]
    accuracy, asr, robust = None, None, None
    if outcomes:
        accuracy = Share.of(_mean(outcomes, "accuracy"), outcomes[0]["tested"])
    if accuracy and outcomes[0]["asr"] is not None:
        trials = outcomes[0]["triggered"]
        asr, robust = (Share.of(_mean(outcomes, key), trials) for key in ("asr", "robust_accuracy"))
    return Row(
        name,
        defence_name(cell["pipeline"], cell.get("subset")),
        (cell["trigger"] or {}).get("psnr"),
        Share.of(detection["found"], detection["poisoned"]),
        Share.of(detection["disturbed"], detection["clean"]),
        Share.of(detection["recovered"], detection["poisoned"]),
        _residual(cell["repair"]),
        detection["auc"],
        cell["cost"].get("calls_per_sample"),
        accuracy,
        asr,
        robust,
        None,
        cell,
    )


def _comparable(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two cells are about the same poisoned set and training, as far as they tell: older ones do not."""
    sets = {cell.get("poisoned_sha256") for cell in (one, other)} - {None}
    return len(sets) < 2 and agree(one.get("training", {}), other.get("training", {}))


def _residual(repair: dict[str, Any] | None) -> float | None:
    if not repair or not repair["repaired"]:
        return None
    return repair.get("trigger_residual_median", repair["trigger_residual"])


def _mean(outcomes: Sequence[dict[str, Any]], key: str) -> float:
    return sum(outcome[key] for outcome in outcomes) / len(outcomes)
