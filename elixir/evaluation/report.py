"""Results of an experiment as Markdown and as a page of its own, from the files of its cells."""

from __future__ import annotations

from html import escape
from pathlib import Path

from elixir.data.files import replacing
from elixir.errors import ElixirError
from elixir.evaluation.summary import Row, Share

COLUMNS = ("attack, share", "defence", "found", "clean changed", "true label", "ACC", "ASR", "RA", "DER")
MARKS = ("<!-- results -->", "<!-- end of results -->")
BAR = 14
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1c2530 }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #dde3ea; white-space: nowrap }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left }
small { color: #6b7785 }
svg text { font: 12px system-ui, sans-serif; fill: #1c2530 }
"""


def markdown(rows: list[Row]) -> str:
    """A table with a line for every cell; shares in per cent, means over the seeds."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(_text(cell) for cell in _cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def insert_results(path: Path, rows: list[Row]) -> None:
    """Put the table between the two marks of a Markdown file.

    Raises:
        ElixirError: the file has no such marks.
    """
    before, start, rest = path.read_text().partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not start or not end:
        raise ElixirError(f"{path} has no lines {MARKS[0]} and {MARKS[1]} to put the results between")
    _write(path, f"{before}{start}\n{markdown(rows)}{end}{after}")


def write_page(path: Path, rows: list[Row]) -> None:
    """Write one HTML file without scripts or outside resources: table with intervals, bars, settings."""
    head = "".join(f"<th>{escape(column)}</th>" for column in COLUMNS)
    body = "".join("<tr>" + "".join(f"<td>{_html(cell)}</td>" for cell in _cells(row)) + "</tr>\n" for row in rows)
    first = rows[0].cell
    about = (
        f"{first['train']}, {first['samples']} samples; target {first['target']}; {len(first['outcomes'])} fresh "
        f"classifiers a cell; seed {first['seed']}; {first['machine']['cpu']}, {first['machine']['threads']} threads"
    )
    _write(
        path,
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>elixir evaluate</title><style>{STYLE}</style>\n'
        f"<h1>elixir evaluate</h1><p>{escape(about)}</p>\n"
        "<p>Shares in per cent, means over the classifiers; below them exact 95% intervals for one classifier.</p>\n"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>\n"
        f"<h2>Attack success rate</h2>{_bars(rows, 'asr')}<h2>Accuracy</h2>{_bars(rows, 'accuracy')}</html>\n",
    )


def _cells(row: Row) -> list[str | float | Share | None]:
    attacked = row.asr is not None
    return [
        row.poisoning,
        row.pipeline,
        row.found if attacked else None,
        row.disturbed,
        row.recovered if attacked else None,
        row.accuracy,
        row.asr,
        row.robust_accuracy,
        row.der,
    ]


def _text(cell: str | float | Share | None) -> str:
    if cell is None:
        return ""
    if isinstance(cell, Share):
        return f"{100 * cell.value:.2f}"
    return cell.replace("|", "\\|").replace("\n", " ") if isinstance(cell, str) else f"{cell:.3f}"


def _html(cell: str | float | Share | None) -> str:
    if isinstance(cell, Share):
        return f"{100 * cell.value:.2f}<br><small>{100 * cell.low:.2f} to {100 * cell.high:.2f}</small>"
    return "" if cell is None else escape(cell if isinstance(cell, str) else f"{cell:.3f}")


def _bars(rows: list[Row], what: str) -> str:
    """A bar for every cell that has this share, with its interval, as SVG."""
    shown = [(row, share) for row in rows if isinstance(share := getattr(row, what), Share)]
    marks: list[str] = []
    for place, (row, share) in enumerate(shown):
        y = place * (BAR + 6)
        low, high = 260 + 500 * share.low, 260 + 500 * share.high
        marks.append(
            f'<text x="250" y="{y + 11}" text-anchor="end">{escape(row.poisoning)}, {escape(row.pipeline)}</text>'
            f'<rect x="260" y="{y}" width="{500 * share.value:.1f}" height="{BAR}" fill="{_colour(row)}"/>'
            f'<path d="M{low:.1f} {y + BAR / 2}H{high:.1f}" stroke="#1c2530"/>'
            f'<text x="{268 + 500 * max(share.value, share.high):.1f}" y="{y + 11}">{100 * share.value:.2f}</text>'
        )
    return f'<svg width="860" height="{len(shown) * (BAR + 6)}" role="img">{"".join(marks)}</svg>'


def _colour(row: Row) -> str:
    return {"none": "#c0504d", "oracle": "#9aa5b1"}.get(row.pipeline, "#3b7dd8")


def _write(path: Path, text: str) -> None:
    with replacing(path, path.with_name(f".{path.name}.partial")) as partial:
        partial.write_text(text)
