"""Certified accuracy: what the certificates of a test set are worth together, as figures and as a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from elixir.certification.sampling import Certificate
from elixir.measurement.chart import draw_chart
from elixir.statistics import binomial_interval

RADIUS_STEP = 0.25
AVERAGED_RADII = (0.0, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Row:
    """One image at one noise level.

    Attributes:
        id: of the sample.
        label: the true one.
        sigma: deviation of the noise in [0,1] pixel units.
        certificate: of the image.
    """

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

    Args:
        rows: of the same images at every noise level.
        sigmas: the noise levels.
        radii: L2, in [0,1] pixel units, with 0, .25, .5 and .75 among them.

    Returns:
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
    return {
        "sigmas": [{"sigma": sigma, **level} for sigma, level in levels.items()],
        "best": best,
        "average": average,
    }


def draw_curve(rows: Sequence[Row], sigmas: Sequence[float], largest: float, title: str) -> str:
    """Certified accuracy over the radius as SVG, a line for each noise level; see `accuracies`.

    Args:
        rows: of the same images at every noise level.
        sigmas: the noise levels.
        largest: radius at the right end, greater than 0.
        title: above the lines.
    """
    lines = [(f"sigma {sigma:g}", _steps([row for row in rows if row.sigma == sigma], largest)) for sigma in sigmas]
    ticks = [(RADIUS_STEP * step, f"{RADIUS_STEP * step:g}") for step in range(int(largest / RADIUS_STEP) + 1)]
    return draw_chart(lines, ticks, largest, f"certified accuracy: {title}", "L2 radius (pixels in [0,1])")


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
