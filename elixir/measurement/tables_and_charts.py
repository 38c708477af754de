"""Results for people: Markdown tables, on their own or between two marks of a file, and line charts as SVG."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from elixir.data.io import replace_text
from elixir.errors import ElixirError

WIDTH, HEIGHT = 640, 400
LEFT, TOP, RIGHT, BOTTOM = 60, 30, 20, 50
COLOURS = ("#3b7dd8", "#c0504d", "#4f9d69", "#8064a2", "#d98e32", "#55616e")
STYLE = "text{font:12px system-ui,sans-serif;fill:#1c2530}path{fill:none;stroke-width:1.8}line{stroke:#dde3ea}"

Line = tuple[str, Sequence[tuple[float, float]]]  # a name and its points
Tick = tuple[float, str]  # a value on the x axis and what to write there


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A caption and a table below it; no cell can break the table or end a comment."""
    lines = [_plain(caption), "", _row(head), "|" + "---|" * len(head), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def insert(path: Path, text: str, marks: tuple[str, str]) -> None:
    """Put text between the two marks of a Markdown file; raises an ElixirError if it has none."""
    before, start, rest = path.read_text(encoding="utf-8").partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not start or not end:
        raise ElixirError(f"{path} has no lines {marks[0]} and {marks[1]} to put the results between")
    replace_text(path, f"{before}{start}\n{text}{end}{after}")


def draw_chart(lines: Sequence[Line], ticks: Sequence[Tick], largest: float, title: str, axis: str) -> str:
    """Straight lines between points (x, share in [0,1]), over an x axis from 0 to `largest`, which exceeds 0."""
    marks = [f'<text x="{LEFT}" y="18">{escape(title)}</text>', *_axes(ticks, largest, axis)]
    for index, (name, points) in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        path = "L".join(f"{_x(value, largest):.2f} {_y(share):.2f}" for value, share in points)
        marks.append(f'<path stroke="{colour}" d="M{path}"/>')
        y = TOP + 14 + 18 * index
        marks.append(f'<path stroke="{colour}" d="M{WIDTH - 130} {y - 4}h24"/>')
        marks.append(f'<text x="{WIDTH - 100}" y="{y}">{escape(name)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(marks)}</svg>\n'
    )


def _axes(ticks: Sequence[Tick], largest: float, axis: str) -> list[str]:
    marks: list[str] = []
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        marks.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.2f}" y2="{y:.2f}"/>')
        marks.append(f'<text x="{LEFT - 8}" y="{y + 4:.2f}" text-anchor="end">{10 * tenth} %</text>')
    for value, text in ticks:
        x = _x(value, largest)
        marks.append(f'<line x1="{x:.2f}" x2="{x:.2f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        marks.append(f'<text x="{x:.2f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{escape(text)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    marks.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">{escape(axis)}</text>')
    return marks


def _x(value: float, largest: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * value / largest


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_plain, cells)) + " |"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
