"""Robust accuracy and residual perturbation of all images together: figures, a drawing, and tables side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elixir.errors import ElixirError, explaining
from elixir.measurement.measurement_folder import hardware, measured_alike, name_of_test_set, read_finished
from elixir.measurement.tables_and_charts import Line, draw_chart, table
from elixir.robustness.attacks import budget
from elixir.statistics import binomial_interval

COMMON = ("test", "images_sha256", "classifier", "classifier_sha256", "sigma", "draws", "seed")
MODES = ("static", "adaptive")
UNDEFENDED = "none"
CLEAN = "clean"


@dataclass(frozen=True)
class Job:
    """One attack on all images behind one purifier.

    Attributes:
        mode: "static" or "adaptive"; that of clean images is "static".
        purifier: see `Settings.purifiers`.
        attack: its name, or `CLEAN`.
        eps: its budget as it was given, "0" for clean images.
    """

    mode: str
    purifier: str
    attack: str
    eps: str


@dataclass(frozen=True)
class Result(Job):
    """What has come of a job.

    Attributes:
        accuracy: share of the images that is classified right; `low` and `high` are its exact 95% interval.
        residual: mean of |purify(adversarial) - purify(clean)| / |adversarial - clean|, in L2 norms, over the images
            that the attack has changed; None where there are none.
    """

    images: int
    accuracy: float
    low: float
    high: float
    residual: float | None


def summarize(entries: Sequence[dict[str, Any]], labels: Sequence[int]) -> list[Result]:
    """Put the blocks of each job in the log of `measure_robustness` together, given the labels of all images."""
    jobs: dict[Job, list[dict[str, Any]]] = {}
    for entry in entries:
        jobs.setdefault(Job(**entry["job"]), []).append(entry)
    results: list[Result] = []
    for job, blocks in jobs.items():
        places = (pair for block in blocks for pair in enumerate(block["predictions"], block["first"]))
        right = [prediction == labels[place] for place, prediction in places]
        residuals = [value for block in blocks for value in block["residuals"] if value is not None]
        residual = float(np.mean(residuals)) if residuals else None
        hits, images = sum(right), len(right)
        low, high = binomial_interval(hits, images)
        results.append(
            Result(**vars(job), images=images, accuracy=hits / images, low=low, high=high, residual=residual)
        )
    return results


def of_mode(results: Sequence[Result], mode: str) -> list[Result]:
    """Those of a mode, with what adaptive attacks share with static ones: clean images, and the bare classifier."""
    return [each for each in results if each.mode == mode or each.attack == CLEAN or each.purifier == UNDEFENDED]


def short_name(purifier: str, among: Iterable[str]) -> str:
    """A purifier (see `Settings.purifiers`) without its weights, unless they tell it from another."""
    name = purifier.partition("=")[0]
    return name if sum(each.partition("=")[0] == name for each in among) == 1 else purifier


def draw_robustness(results: Sequence[Result], mode: str, title: str) -> str:
    """Mean accuracy under all attacks of a mode over eps, a line for each purifier, as SVG."""
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


@dataclass(frozen=True)
class Measurement:
    """What `measure_robustness` has left in a folder."""

    settings: dict[str, Any]
    results: list[Result]
    hardware: str


def read_measurement(folder: Path) -> Measurement:
    """Read a finished measurement; raises an ElixirError if there is none."""
    summary, timings = read_finished(folder, "measurement", "robustness")
    with explaining((KeyError, TypeError), f"{folder} holds no measurement of robustness by this version of elixir"):
        results = [Result(**each) for each in summary["results"]]
        return Measurement(summary["settings"], results, hardware(timings))


def robustness_tables(measurements: Sequence[Measurement], eps: Sequence[str] | None = None) -> str:
    """Markdown tables, one for each test set, mode and budget: a line for each purifier, a column for each attack.

    Measurements of the same images, made in the same way, share their tables; what two of them have is taken from the
    first, and attacks that not all of the purifiers have met are left out. Cells hold accuracy in per cent and, behind
    the stroke, the residual perturbation (see `Result`). An ElixirError if nothing was measured at `eps`, if given.
    """
    wanted = None if eps is None else {budget(each) for each in eps}
    tables = [each for alike in measured_alike(measurements, COMMON) for each in _tables(alike, wanted)]
    if not tables:
        raise ElixirError(f"nothing was measured at eps {', '.join(eps or [])}")
    return "\n".join(tables)


def _tables(alike: list[Measurement], wanted: set[float] | None) -> list[str]:
    first: dict[tuple[str, str, str, str], Result] = {}
    for each in (result for measurement in alike for result in measurement.results):
        first.setdefault((each.mode, each.purifier, each.attack, each.eps), each)
    results = list(first.values())
    budgets = sorted({each.eps for each in results if each.attack != CLEAN}, key=budget)
    shown = [eps for eps in budgets if wanted is None or budget(eps) in wanted]
    modes = [mode for mode in MODES if any(each.mode == mode for each in results)]
    return [_table(alike[0], of_mode(results, mode), mode, eps) for eps in shown for mode in modes]


def _table(first: Measurement, results: list[Result], mode: str, eps: str) -> str:
    met = {(each.purifier, each.attack): each for each in results if each.attack == CLEAN or each.eps == eps}
    purifiers = list(dict.fromkeys(purifier for purifier, attack in met if attack != CLEAN))
    every = dict.fromkeys(attack for _, attack in met if attack != CLEAN)
    attacks = [attack for attack in every if all((purifier, attack) in met for purifier in purifiers)]
    settings = first.settings
    caption = f"{name_of_test_set(settings)}, eps {eps}, {mode} attacks; {settings['images']} images, sigma "
    caption += f"{settings['sigma']:g}, seed {settings['seed']}"
    caption += f", gradients of {settings['draws']} draws" if mode == "adaptive" else ""
    lines: list[list[str]] = []
    for purifier in purifiers:
        row = [met[purifier, attack] for attack in attacks]
        mean = _cell(row) if row else ""
        lines.append(
            [short_name(purifier, purifiers), _cell([met[purifier, CLEAN]]), *(_cell([each]) for each in row), mean]
        )
    return table(f"{caption}; {first.hardware}", ["purifier", CLEAN, *attacks, "mean"], lines)


def _cell(results: Sequence[Result]) -> str:
    """Mean accuracy and, where an attack has changed an image, mean residual perturbation."""
    residuals = [each.residual for each in results if each.residual is not None]
    accuracy = f"{100 * (sum(each.accuracy for each in results) / len(results)):.1f}"
    return f"{accuracy} / {sum(residuals) / len(residuals):.2f}" if residuals else accuracy
