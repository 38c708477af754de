"""Measurements of the same images with different purifiers, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elixir.data.io import read_json
from elixir.errors import ElixirError
from elixir.measurement.markdown import table
from elixir.robustness.attacks import budget
from elixir.robustness.summary import CLEAN, MODES, Result, of_mode, short_name

COMMON = ("test", "images_sha256", "classifier", "classifier_sha256", "sigma", "draws", "seed")


@dataclass(frozen=True)
class Measurement:
    """What `measure_robustness` has left in a folder.

    Attributes:
        settings: of the measurement.
        results: see `Result`.
        hardware: that it ran on.
    """

    settings: dict[str, Any]
    results: list[Result]
    hardware: str


def read_measurement(folder: Path) -> Measurement:
    """Read a finished measurement.

    Raises:
        ElixirError: there is none.
    """
    if not (folder / "summary.json").exists():
        raise ElixirError(
            f"{folder} holds no finished measurement; run the same `elixir robustness` again to finish it"
        )
    summary, timings = (read_json(folder / f"{name}.json", "measure again") for name in ("summary", "timings"))
    try:
        results = [Result(**each) for each in summary["results"]]
        return Measurement(summary["settings"], results, timings["machine"]["gpu"] or timings["machine"]["cpu"])
    except (KeyError, TypeError) as error:
        raise ElixirError(f"{folder} holds no measurement of robustness by this version of elixir") from error


def robustness_tables(measurements: Sequence[Measurement], eps: Sequence[str] | None = None) -> str:
    """Markdown tables, one for each test set, mode and budget: a line for each purifier, a column for each attack.

    Measurements of the same images, made in the same way, share their tables; what two of them have is taken from the
    first, and attacks that not all of the purifiers have met are left out. Cells hold accuracy in per cent and, behind
    the stroke, the residual perturbation (see `Result`).

    Args:
        measurements: in the order in which their purifiers are to be listed.
        eps: budgets to show, as they were given to the measurement or in another form; all by default.

    Raises:
        ElixirError: no measurement has such a budget.
    """
    wanted = None if eps is None else {budget(each) for each in eps}
    alike: dict[str, list[Measurement]] = {}
    for each in measurements:
        way = [each.settings[key] for key in COMMON]
        alike.setdefault(json.dumps([*way, each.hardware]), []).append(each)
    tables = [each for same in alike.values() for each in _tables(same, wanted)]
    if not tables:
        raise ElixirError(f"nothing was measured at eps {', '.join(eps or [])}")
    return "\n".join(tables)


def _tables(same: list[Measurement], wanted: set[float] | None) -> list[str]:
    results: dict[tuple[str, str, str, str], Result] = {}
    for each in (result for measurement in same for result in measurement.results):
        results.setdefault((each.mode, each.purifier, each.attack, each.eps), each)
    every = list(results.values())
    budgets = sorted({each.eps for each in every if each.attack != CLEAN}, key=budget)
    shown = [eps for eps in budgets if wanted is None or budget(eps) in wanted]
    modes = [mode for mode in MODES if any(each.mode == mode for each in every)]
    return [_table(same[0], of_mode(every, mode), mode, eps) for eps in shown for mode in modes]


def _table(first: Measurement, results: list[Result], mode: str, eps: str) -> str:
    met = {(each.purifier, each.attack): each for each in results if each.attack == CLEAN or each.eps == eps}
    purifiers = list(dict.fromkeys(purifier for purifier, attack in met if attack != CLEAN))
    every = dict.fromkeys(attack for _, attack in met if attack != CLEAN)
    attacks = [attack for attack in every if all((purifier, attack) in met for purifier in purifiers)]
    about = f"{Path(first.settings['test']).stem}, eps {eps}, {mode} attacks; {first.settings['images']} images, sigma "
    about += f"{first.settings['sigma']:g}, seed {first.settings['seed']}"
    about += f", gradients of {first.settings['draws']} draws" if mode == "adaptive" else ""
    lines: list[list[str]] = []
    for purifier in purifiers:
        row = [met[purifier, attack] for attack in attacks]
        residuals = [each.residual for each in row if each.residual is not None]
        mean = _cell(sum(each.accuracy for each in row) / len(row), _mean(residuals)) if row else ""
        clean = _cell(met[purifier, CLEAN].accuracy, None)
        lines.append([short_name(purifier, purifiers), clean, *map(_of, row), mean])
    return table(f"{about}; {first.hardware}", ["purifier", CLEAN, *attacks, "mean"], lines)


def _of(result: Result) -> str:
    return _cell(result.accuracy, result.residual)


def _cell(accuracy: float, residual: float | None) -> str:
    return f"{100 * accuracy:.1f}" + ("" if residual is None else f" / {residual:.2f}")


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
