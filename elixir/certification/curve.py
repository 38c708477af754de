"""Certified accuracy over the radius, drawn as SVG."""

from __future__ import annotations

from collections.abc import Sequence

from elixir.certification.accuracy import STEP
from elixir.certification.ledger import Row
from elixir.measurement.chart import draw_chart


def draw_curve(rows: Sequence[Row], sigmas: Sequence[float], largest: float, title: str) -> str:
    """A line for each noise level: the share of images whose true label is certified at a radius or a larger one.

    Args:
        rows: of the same images at every noise level.
        sigmas: the noise levels.
        largest: radius at the right end, greater than 0.
        title: above the lines.
    """
    lines = [(f"sigma {sigma:g}", _steps([row for row in rows if row.sigma == sigma], largest)) for sigma in sigmas]
    ticks = [(STEP * step, f"{STEP * step:g}") for step in range(int(largest / STEP) + 1)]
    return draw_chart(lines, ticks, largest, f"certified accuracy: {title}", "L2 radius (pixels in [0,1])")


def _steps(rows: Sequence[Row], largest: float) -> list[tuple[float, float]]:
    """The curve is a staircase: it falls by one image at the radius of each."""
    radii = sorted(row.certificate.radius for row in rows if row.right)
    points = [(0.0, len(radii) / len(rows))]
    for left, radius in zip(range(len(radii) - 1, -1, -1), radii, strict=True):
        points += [(radius, (left + 1) / len(rows)), (radius, left / len(rows))]
    return [*points, (largest, points[-1][1])]
