"""Robust accuracy and residual perturbation of all images together, as figures and as a drawing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elixir.measurement.chart import Line, draw_chart
from elixir.robustness.attacks import budget
from elixir.statistics import binomial_interval

MODES = ("static", "adaptive")
UNDEFENDED = "none"
CLEAN = "clean"


@dataclass(frozen=True)
class Result:
    """One attack on all images behind one purifier.

    Attributes:
        mode: "static" or "adaptive"; that of clean images is "static".
        purifier: see `Settings.purifiers`.
        attack: its name, or `CLEAN`.
        eps: its budget as it was given, "0" for clean images.
        images: number of images.
        accuracy: share that is classified right, with its exact 95% interval.
        low: of the interval.
        high: of the interval.
        residual: mean of |purify(adversarial) - purify(clean)| / |adversarial - clean|, in L2 norms, over the images
            that the attack has changed; None where there are none.
    """

    mode: str
    purifier: str
    attack: str
    eps: str
    images: int
    accuracy: float
    low: float
    high: float
    residual: float | None


def summarize(entries: Sequence[dict[str, Any]], labels: Sequence[int]) -> list[Result]:
    """Put the blocks of each job together.

    Args:
        entries: of the journal; see `_Measurement`.
        labels: of all images, in order.
    """
    right: dict[tuple[str, ...], list[bool]] = {}
    residuals: dict[tuple[str, ...], list[float]] = {}
    for entry in entries:
        job = tuple(entry["job"][key] for key in ("mode", "purifier", "attack", "eps"))
        true = labels[entry["first"] : entry["first"] + len(entry["predictions"])]
        right.setdefault(job, []).extend(np.equal(entry["predictions"], true).tolist())
        residuals.setdefault(job, []).extend(value for value in entry["residuals"] if value is not None)
    results: list[Result] = []
    for job, hits in right.items():
        residual = float(np.mean(residuals[job])) if residuals[job] else None
        share = sum(hits) / len(hits)
        results.append(Result(*job, len(hits), share, *binomial_interval(sum(hits), len(hits)), residual))  # pyright: ignore[reportCallIssue]
    return results


def of_mode(results: Sequence[Result], mode: str) -> list[Result]:
    """Those of a mode, with what adaptive attacks share with static ones: clean images, and the bare classifier."""
    return [each for each in results if each.mode == mode or each.attack == CLEAN or each.purifier == UNDEFENDED]


def short_name(purifier: str, among: Iterable[str]) -> str:
    """A purifier (see `Settings.purifiers`) without its weights, unless they tell it from another."""
    name = purifier.partition("=")[0]
    return name if sum(each.partition("=")[0] == name for each in among) == 1 else purifier


def draw_robustness(results: Sequence[Result], mode: str, title: str) -> str:
    """Mean accuracy under all attacks over eps, a line for each purifier, as SVG.

    Args:
        results: of `summarize`.
        mode: see `Result`.
        title: above the lines.
    """
    points: dict[str, dict[float, list[float]]] = {}
    ticks: dict[float, str] = {}
    for each in of_mode(results, mode):
        eps = 0.0 if each.attack == CLEAN else budget(each.eps)
        ticks[eps] = each.eps
        points.setdefault(each.purifier, {}).setdefault(eps, []).append(each.accuracy)
    lines: list[Line] = [
        (short_name(purifier, points), [(eps, sum(shares) / len(shares)) for eps, shares in sorted(of.items())])
        for purifier, of in points.items()
    ]
    return draw_chart(lines, sorted(ticks.items()), max(ticks), title, "eps (L-inf, pixels in [0,1])")
