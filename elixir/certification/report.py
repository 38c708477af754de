"""Certified accuracy of all images together: figures, a drawing, and tables side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elixir.certification.sampling import Certificate
from elixir.data.io import read_table
from elixir.errors import ElixirError, explaining
from elixir.measurement.measurement_folder import hardware, measured_alike, name_of_test_set, read_finished
from elixir.measurement.tables_and_charts import draw_chart, table
from elixir.statistics import binomial_interval

RADIUS_STEP = 0.25
AVERAGED_RADII = (0.0, 0.25, 0.5, 0.75)
COMMON = ("test", "classifier_sha256", "sigmas", "n0", "n", "alpha", "seed")
RADII = tuple(f"r = {radius:g}" for radius in AVERAGED_RADII)
HEAD = ("purifier", "NFE a draw", "images", *RADII, "average", "certificates/min")


@dataclass(frozen=True)
class Row:
    """One image, with its true label, at one noise level sigma, in [0,1] pixel units."""

    id: str
    label: int
    sigma: float
    certificate: Certificate

    @property
    def right(self) -> bool:
        """Whether the true label is certified, at some radius."""
        return not self.certificate.abstained and self.certificate.prediction == self.label


def radii_up_to(largest: float) -> list[float]:
    """0, .25, .5, .75 and on in the same steps as far as a radius can reach."""
    return [RADIUS_STEP * step for step in range(max(len(AVERAGED_RADII), int(largest / RADIUS_STEP) + 1))]


def accuracies(rows: Sequence[Row], sigmas: Sequence[float], radii: Sequence[float]) -> dict[str, Any]:
    """Certified accuracy for each noise level and for the best one at each radius; shares of all images in [0,1].

    Rows are of the same images at every noise level; radii are L2, in [0,1] pixel units, with 0, .25, .5 and .75 among
    them. Returns:
        `sigmas`: for each, lists over the radii: `certified` (the true label at this radius or a larger one), `wrong`
        (another label), and `abstained` (the rest: no label at this radius).
        `best`: for each radius `certified` of the noise level where that is highest, with exact 95% intervals (of one
        level chosen beforehand), its `sigma` and its share `abstained`.
        `average`: mean of the best over the radii 0, .25, .5, .75.
    """
    levels = {sigma: _level([row for row in rows if row.sigma == sigma], radii) for sigma in sigmas}
    images = len(rows) // len(sigmas)
    best: list[dict[str, float]] = []
    for index, radius in enumerate(radii):
        sigma = max(levels, key=lambda sigma: (levels[sigma]["certified"][index], -sigma))
        share, abstained = (levels[sigma][key][index] for key in ("certified", "abstained"))
        low, high = binomial_interval(round(share * images), images)
        entry = {"radius": radius, "sigma": sigma, "certified": share, "low": low, "high": high, "abstained": abstained}
        best.append(entry)
    average = sum(entry["certified"] for entry in best if entry["radius"] in AVERAGED_RADII) / len(AVERAGED_RADII)
    by_level = [{"sigma": sigma, **level} for sigma, level in levels.items()]
    return {"sigmas": by_level, "best": best, "average": average}


def draw_curve(rows: Sequence[Row], sigmas: Sequence[float], largest: float, title: str) -> str:
    """Certified accuracy over the radius, up to `largest`, as SVG: a line for each noise level; see `accuracies`."""
    lines = [(f"sigma {sigma:g}", _steps([row for row in rows if row.sigma == sigma], largest)) for sigma in sigmas]
    ticks = [(RADIUS_STEP * step, f"{RADIUS_STEP * step:g}") for step in range(int(largest / RADIUS_STEP) + 1)]
    return draw_chart(lines, ticks, largest, f"certified accuracy: {title}", "L2 radius (pixels in [0,1])")


@dataclass(frozen=True)
class Certification:
    """What `certify_dataset` has left in a folder.

    Attributes:
        rows: of all images at all noise levels.
        nfe: function evaluations of the purifier's network, mean over the draws.
        per_minute: certificates.
    """

    name: str
    rows: list[Row]
    settings: dict[str, Any]
    nfe: float
    per_minute: float
    hardware: str


def read_certification(folder: Path) -> Certification:
    """Read a finished certification; raises an ElixirError if there is none."""
    summary, timings = read_finished(folder, "certification", "certify")
    stored = read_table(folder / "rows.parquet", "certify again, into another folder")
    if "radius" not in stored.column_names:
        raise ElixirError(f"{folder} holds no certification")
    with explaining((KeyError, TypeError), f"{folder} holds no certification by this version of elixir"):
        rows = [
            Row(row.pop("id"), row.pop("label"), row.pop("sigma"), Certificate(**row)) for row in stored.to_pylist()
        ]
        settings = summary["settings"]
        draws = timings["draws"] + len(rows) * settings["n0"]  # with those that chose the labels
        nfe, per_minute = timings["nfe"] / draws, timings["images_per_minute"]
        return Certification(folder.name, rows, settings, nfe, per_minute, hardware(timings))


def certification_tables(certifications: Sequence[Certification]) -> str:
    """Markdown tables: certified accuracy in per cent, of the best noise level at each radius.

    Certifications of different test sets, or made in different ways, are in different tables. Where one line rests on
    fewer images than another, a second table has all of them on the images they share.
    """
    return "\n".join(map(_tables, measured_alike(certifications, COMMON)))


def _level(rows: list[Row], radii: Sequence[float]) -> dict[str, list[float]]:
    def share(radius: float, right: bool) -> float:
        reaching = (row for row in rows if not row.certificate.abstained and row.certificate.radius >= radius)
        return sum(row.right == right for row in reaching) / len(rows)

    certified = [share(radius, right=True) for radius in radii]
    wrong = [share(radius, right=False) for radius in radii]
    abstained = [1 - sum(pair) for pair in zip(certified, wrong, strict=True)]
    return {"certified": certified, "wrong": wrong, "abstained": abstained}


def _steps(rows: Sequence[Row], largest: float) -> list[tuple[float, float]]:
    """The curve falls by one image at the radius of each."""
    radii = sorted(row.certificate.radius for row in rows if row.right)
    points = [(0.0, len(radii) / len(rows))]
    for left, radius in zip(range(len(radii) - 1, -1, -1), radii, strict=True):
        points += [(radius, (left + 1) / len(rows)), (radius, left / len(rows))]
    return [*points, (largest, points[-1][1])]


def _tables(alike: list[Certification]) -> str:
    ids = [{row.id for row in each.rows} for each in alike]
    shared = set.intersection(*ids)
    title = name_of_test_set(alike[0].settings)
    text = _table(title, alike, ids)
    if shared and any(len(each) > len(shared) for each in ids):
        text += "\n" + _table(f"{title}, the images that all have", alike, [shared] * len(alike))
    return text


def _table(title: str, alike: list[Certification], ids: list[set[str]]) -> str:
    settings = alike[0].settings
    caption = f"{title}; sigma {', '.join(f'{sigma:g}' for sigma in settings['sigmas'])}; n = {settings['n']}, "
    caption += f"alpha = {settings['alpha']:g}, seed {settings['seed']}; {alike[0].hardware}"
    lines: list[list[str]] = []
    for each, chosen in zip(alike, ids, strict=True):
        rows = [row for row in each.rows if row.id in chosen]
        accuracy = accuracies(rows, settings["sigmas"], AVERAGED_RADII)
        shares = [f"{100 * best['certified']:.1f}" for best in accuracy["best"]]
        average = f"{100 * accuracy['average']:.2f}"
        lines.append([each.name, f"{each.nfe:.0f}", str(len(chosen)), *shares, average, f"{each.per_minute:.0f}"])
    return table(caption, HEAD, lines)
