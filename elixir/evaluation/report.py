"""Results of an experiment as Markdown and as a page of its own, from the files of its cells."""

from __future__ import annotations

from html import escape
from pathlib import Path

from elixir.data.io import replace_text
from elixir.data.paths import printable
from elixir.evaluation.defences import BASELINES, UNDEFENDED, UNPOISONED
from elixir.evaluation.summary import Row, Share
from elixir.measurement.markdown import table

FOUND = ("found", "clean changed", "true label")
COLUMNS = (
    "attack, share", "defence", "PSNR", "calls", "AUC", *FOUND, "residual", "ACC", "ASR", "RA", "DER", "seeds",
)  # fmt: skip
RECIPE = "dataelixir"  # whose detection the overview shows
BAR = 14
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 92rem; padding: 0 1rem; color: #1c2530 }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #dde3ea; white-space: nowrap }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left }
small { color: #6b7785 }
svg text { font: 12px system-ui, sans-serif; fill: #1c2530 }
"""


def markdown(experiments: list[list[Row]]) -> str:
    """A table for each experiment, with a line for every cell; shares in per cent, means over the seeds."""
    return "\n".join(_table(rows) for rows in experiments)


def overview(experiments: list[list[Row]]) -> str:
    """A table for each experiment, with a line for every attack; shares in per cent, means over the seeds.

    Beside what the default recipe has found stand "ASR / ACC" of classifiers trained on what it has left, and on what
    the baselines have; behind the recipe's ASR its exact 95% interval for one classifier.
    """
    return "\n".join(_overview(rows) for rows in experiments)


def _overview(rows: list[Row]) -> str:
    cells = {(row.poisoning, row.pipeline): row for row in rows}
    order = dict.fromkeys([UNDEFENDED, RECIPE, *BASELINES])
    defences = [name for name in order if any(pipeline == name for _, pipeline in cells)]
    lines: list[list[str]] = []
    for poisoning in dict.fromkeys(row.poisoning for row in rows):
        mine = cells.get((poisoning, RECIPE))
        shown = [None] * len(FOUND) if mine is None else _detected(mine)
        learned = [_learned(cells.get((poisoning, defence)), defence == RECIPE) for defence in defences]
        lines.append([poisoning, *map(_text, [*shown, *learned])])
    return table(_about(rows), ["attack, share", *FOUND, *defences], lines)


def _learned(row: Row | None, interval: bool) -> str | None:
    """What a fresh classifier has learned, as "ASR / ACC"; ACC alone without an attack."""
    if row is None or row.accuracy is None:
        return None
    if row.asr is None:
        return _text(row.accuracy)
    around = f" ({100 * row.asr.low:.2f} to {100 * row.asr.high:.2f})" if interval else ""
    return f"{_text(row.asr)}{around} / {_text(row.accuracy)}"


def write_page(path: Path, experiments: list[list[Row]]) -> None:
    """Write one HTML file without scripts or outside resources: tables with intervals, bars, settings."""
    replace_text(
        path,
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>elixir evaluate</title><style>{STYLE}</style>\n'
        "<h1>elixir evaluate</h1>\n"
        "<p>Shares in per cent, means over the classifiers; below them exact 95% intervals for one classifier.</p>\n"
        f"{''.join(_section(rows) for rows in experiments)}</html>\n",
    )


def _table(rows: list[Row]) -> str:
    return table(_about(rows), COLUMNS, [[_text(cell) for cell in _cells(row)] for row in rows])


def _section(rows: list[Row]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in COLUMNS)
    body = "".join("<tr>" + "".join(f"<td>{_html(cell)}</td>" for cell in _cells(row)) + "</tr>\n" for row in rows)
    return (
        f"<h2>{escape(_about(rows))}</h2><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>\n"
        f"<h3>Attack success rate</h3>{_bars(rows, 'asr')}<h3>Accuracy</h3>{_bars(rows, 'accuracy')}\n"
    )


def _about(rows: list[Row]) -> str:
    first = rows[0].cell
    aim = "all to all" if first["target"] is None else f'target "{printable(first["target"])}"'
    data = f"{printable(Path(first['train']).stem)}, {first['samples']} samples"
    machines = sorted({row.cell["machine"]["gpu"] or row.cell["machine"]["cpu"] for row in rows})
    return f"{data}, {aim}, seed {first['seed']}; {', '.join(machines)}"


def _cells(row: Row) -> list[str | Share | None]:
    defended = row.pipeline not in (UNDEFENDED, UNPOISONED)
    return [
        row.poisoning,
        row.pipeline,
        None if row.psnr is None else f"{row.psnr:.1f}",
        None if row.calls is None else f"{row.calls:.1f}",
        None if row.auc is None or not defended else f"{row.auc:.4f}",
        *(_detected(row) if defended else [None] * len(FOUND)),
        None if row.residual is None else f"{row.residual:.2f}",
        row.accuracy,
        row.asr,
        row.robust_accuracy,
        None if row.der is None else f"{row.der:.3f}",
        str(len(row.cell["outcomes"])),
    ]


def _detected(row: Row) -> list[Share | None]:
    """What `FOUND` names."""
    attacked = row.cell["detection"]["poisoned"] > 0
    return [row.found if attacked else None, row.disturbed, row.recovered if attacked else None]


def _text(cell: str | Share | None) -> str:
    if cell is None:
        return ""
    return f"{100 * cell.value:.2f}" if isinstance(cell, Share) else cell


def _html(cell: str | Share | None) -> str:
    if isinstance(cell, Share):
        return f"{100 * cell.value:.2f}<br><small>{100 * cell.low:.2f} to {100 * cell.high:.2f}</small>"
    return "" if cell is None else escape(cell)


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
    return {UNDEFENDED: "#c0504d", UNPOISONED: "#9aa5b1", "oracle": "#9aa5b1"}.get(row.pipeline, "#3b7dd8")
