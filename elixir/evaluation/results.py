"""The results of trials, read from their files and summed up over their seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elixir.errors import ElixirError
from elixir.evaluation.defences import UNDEFENDED, defence_name
from elixir.statistics import binomial_interval


@dataclass(frozen=True)
class Share:
    """A share in [0,1] with its exact 95% interval (Clopper and Pearson 1934).

    Attributes:
        value: the mean over the seeds.
        low: lower end of the interval, for as many samples as one seed has.
        high: upper end.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, count: int) -> Share:
        """A share of that many samples; without samples the interval is everything."""
        return cls(value, *binomial_interval(round(value * count), count))


@dataclass(frozen=True)
class Row:
    """One trial.

    Attributes:
        poisoning: attack and rate, for people.
        pipeline: recipe or baseline.
        psnr: of the trigger, mean over some images, in dB; None without an attack.
        tpr: share of poisoned samples changed or set aside.
        fpr: share of clean samples changed or set aside.
        relabel_accuracy: share of poisoned samples with their true label in the output.
        residual: how much of the trigger repaired images still have: the median, in older trials the mean; None where
            none has been repaired.
        auc: area under the ROC curve of the poison score; None without an attack.
        nfe: network evaluations of the purifier a sample; None for a baseline.
        accuracy: ACC on the clean test set; None where nothing was trained.
        asr: attack success rate; None without an attack.
        robust_accuracy: RA; likewise.
        der: defence effectiveness rate against training on the poisoned set; None where that trial is missing, or is
            about another poisoned set or training.
        trial: everything.
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
    """All trials of a folder, by attack, rate and pipeline.

    Raises:
        ElixirError: there is none, or a file is no result of a trial.
    """
    rows: list[tuple[tuple[Any, ...], Row]] = []
    for path in sorted(folder.glob("*.json")):
        try:
            trial = json.loads(path.read_text())
            name = path.stem.removesuffix(f"-{defence_name(trial['pipeline'], trial.get('subset'))}")
            rows.append(((trial["rate"] == 0, trial["attack"], name, trial["pipeline"]), _row(name, trial)))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ElixirError(f"{path} is no result of `elixir evaluate`: {error}") from error
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
    if before is None or not _comparable(before.trial, row.trial):
        return None
    if not (row.accuracy and row.asr and before.accuracy and before.asr):
        return None
    return defence_effectiveness((before.asr.value, row.asr.value), (before.accuracy.value, row.accuracy.value))


def _row(name: str, trial: dict[str, Any]) -> Row:
    """All but `der`, for which it takes another trial."""
    detection, outcomes = trial["detection"], trial["outcomes"]
    accuracy, asr, robust = None, None, None
    if outcomes:
        accuracy = Share.of(_mean(outcomes, "accuracy"), outcomes[0]["tested"])
    if accuracy and outcomes[0]["asr"] is not None:
        asr, robust = (Share.of(_mean(outcomes, key), outcomes[0]["triggered"]) for key in ("asr", "robust_accuracy"))
    return Row(
        name,
        defence_name(trial["pipeline"], trial.get("subset")),
        (trial["trigger"] or {}).get("psnr"),
        Share.of(detection["tpr"], detection["poisoned"]),
        Share.of(detection["fpr"], detection["clean"]),
        Share.of(detection["relabel_accuracy"], detection["poisoned"]),
        _residual(trial["repair"]),
        detection["auc"],
        trial["cost"].get("nfe_per_sample"),
        accuracy,
        asr,
        robust,
        None,
        trial,
    )


def _comparable(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two trials are of the same poisoned set and training, as far as is known."""
    sets = {trial.get("poisoned_sha256") for trial in (one, other)} - {None}
    return len(sets) < 2 and agree(one.get("training", {}), other.get("training", {}))


def _residual(repair: dict[str, Any] | None) -> float | None:
    if not repair or not repair["repaired"]:
        return None
    return repair.get("trigger_residual_median", repair["trigger_residual"])


def _mean(outcomes: Sequence[dict[str, Any]], key: str) -> float:
    return sum(outcome[key] for outcome in outcomes) / len(outcomes)
