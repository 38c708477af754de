"""Certified accuracy over the radius, drawn as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from elixir.certification.accuracy import STEP
from elixir.certification.ledger import Row

WIDTH, HEIGHT = 640, 400
LEFT, TOP, RIGHT, BOTTOM = 60, 30, 20, 50
COLOURS = ("#3b7dd8", "#c0504d", "#4f9d69", "#8064a2", "#d98e32", "#55616e")
STYLE = "text{font:12px system-ui,sans-serif;fill:#1c2530}path{fill:none;stroke-width:1.8}line{stroke:#dde3ea}"


def draw_curve(rows: Sequence[Row], sigmas: Sequence[float], largest: float, title: str) -> str:
    """A line for each noise level: the share of images whose true label is certified at a radius or a larger one.

    Args:
        rows: of the same images at every noise level.
        sigmas: the noise levels.
        largest: radius at the right end, greater than 0.
        title: above the lines.
    """
    marks = [f'<text x="{LEFT}" y="18">certified accuracy: {escape(title)}</text>', *_axes(largest)]
    for place, sigma in enumerate(sigmas):
        colour = COLOURS[place % len(COLOURS)]
        marks.append(f'<path stroke="{colour}" d="{_steps([row for row in rows if row.sigma == sigma], largest)}"/>')
        y = TOP + 14 + 18 * place
        marks.append(f'<path stroke="{colour}" d="M{WIDTH - 130} {y - 4}h24"/>')
        marks.append(f'<text x="{WIDTH - 100}" y="{y}">sigma {sigma:g}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(marks)}</svg>\n'
    )


def _steps(rows: Sequence[Row], largest: float) -> str:
    """The curve is a staircase: it falls by one image at the radius of each."""
    radii = sorted(row.certificate.radius for row in rows if row.right)
    path = [f"M{_x(0, largest):.2f} {_y(len(radii) / len(rows)):.2f}"]
    for left, radius in zip(range(len(radii) - 1, -1, -1), radii, strict=True):
        path.append(f"H{_x(radius, largest):.2f}V{_y(left / len(rows)):.2f}")
    return "".join(path) + f"H{_x(largest, largest):.2f}"


def _axes(largest: float) -> list[str]:
    marks: list[str] = []
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        marks.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.2f}" y2="{y:.2f}"/>')
        marks.append(f'<text x="{LEFT - 8}" y="{y + 4:.2f}" text-anchor="end">{10 * tenth} %</text>')
    for step in range(int(largest / STEP) + 1):
        x = _x(STEP * step, largest)
        marks.append(f'<line x1="{x:.2f}" x2="{x:.2f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        marks.append(f'<text x="{x:.2f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{STEP * step:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    marks.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">L2 radius (pixels in [0,1])</text>')
    return marks


def _x(radius: float, largest: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * radius / largest


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
