"""What the charts of the report show; the templates draw them. Positions along x are in per cent, along y in pixels."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from elixir.data.paths import printable
from elixir.detection.alarm_rate import RAREST
from elixir.detection.reports import LabelReport, LabelTest

LEVELS = (0, 1, -1, 2, -2, 3, -3)  # dots of one place are moved up and down by so many steps
STEP, MARGIN, LINE = 7, 30, 18  # pixels: between dots, around them, between lines of text
NAMED = 5  # attacked labels with their names in a strip plot
BINS = 100
BAR = 120  # pixels: height of the histogram
NODES = 12  # labels on each side of the flow
NODE, GAP, BANDS = 18, 5, 150  # pixels: smallest node, between nodes, what all bands have together beyond these
LONGEST = 28  # characters of a label in a chart
NOT_WRITTEN = "not in the output"

POWERS = round(-math.log10(RAREST))

_RARITY = "How many clean sets show as much in one of their labels"
_SCORES = {
    "direct": "Direct score: what a detector's group of the label has in common",
    "holdout": "Mislabeled fraction by a model that has not seen the group",
    "discrepancy": "Discrepancy between labels before and after purification",
}


@dataclass(frozen=True)
class Dot:
    """A label in a strip plot, with the score of the test that places it."""

    name: str
    score: float
    x: float
    y: float
    state: str
    """ "attacked", "judged" or "unknown"."""


@dataclass(frozen=True)
class Strip:
    """A strip plot of all labels.

    Attributes:
        cut: where labels begin to be under attack, and what to write there; None where there is no such place.
        ticks: places on the axis, and what to write there.
        named: dots with their names above, and the line of each: labels under attack, and the one farthest to the right
            of the others.
    """

    heading: str
    cut: tuple[float, str] | None
    ticks: list[tuple[float, str]]
    dots: list[Dot]
    named: list[tuple[int, Dot]]
    labels: int

    @property
    def top(self) -> int:
        return LINE * (len(self.named) + 1)

    @property
    def height(self) -> int:
        return self.top + 2 * MARGIN


def strips(reports: Sequence[LabelReport], alarm_rate: float) -> list[Strip]:
    """A strip plot of how rare the evidence against every label is; where that is not known, one a kind of test."""
    known = [
        (report, max(report.tests, key=lambda test: test.surprise), _rare(report.false_alarms))
        for report in reports
        if report.false_alarms is not None and report.tests
    ]
    if known:
        ticks = [(100 * power / POWERS, f"1 in {10**power:,}") for power in range(POWERS + 1)]
        return [_strip(_RARITY, (_rare(alarm_rate), f"alarm rate {alarm_rate:g}"), ticks, known)]
    ticks = [(0.0, "0"), (50.0, "0.5"), (100.0, "1")]
    found = []
    for kind, heading in _SCORES.items():
        tests = [(report, [test for test in report.tests if test.kind == kind]) for report in reports]
        best = [(report, max(some, key=lambda test: test.score)) for report, some in tests if some]
        if best:
            placed = [(report, test, 100 * min(max(test.score, 0.0), 1.0)) for report, test in best]
            found.append(_strip(heading, None, ticks, placed))
    return found


def _rare(false_alarms: float) -> float:
    """Place of a number of false alarms on a logarithmic axis from 1 to `RAREST`, in per cent."""
    power = -math.log10(max(false_alarms, RAREST))
    return 100 * max(power, 0.0) / POWERS


def _strip(
    heading: str,
    cut: tuple[float, str] | None,
    ticks: list[tuple[float, str]],
    placed: Sequence[tuple[LabelReport, LabelTest, float]],
) -> Strip:
    dots: list[Dot] = []
    taken: Counter[int] = Counter()
    drawn: set[tuple[float, float, str]] = set()
    for report, test, x in sorted(placed, key=lambda one: (-one[2], one[0].label)):
        state = "attacked" if report.decided_by else "unknown" if report.not_judged else "judged"
        y = STEP * LEVELS[taken[round(x)] % len(LEVELS)]
        taken[round(x)] += 1
        dot = Dot(_short(report.name), test.score, round(x, 1), y, state)
        if (dot.x, y, state) not in drawn:  # of thousands of labels most would hide each other
            drawn.add((dot.x, y, state))
            dots.append(dot)
    attacked = [dot for dot in dots if dot.state == "attacked"][:NAMED]
    named = attacked + [dot for dot in dots if dot.state != "attacked"][:1]
    return Strip(heading, cut, ticks, dots, list(enumerate(named)), len(placed))


@dataclass(frozen=True)
class Bar:
    """Samples with a poison score in [x, x + 1) per cent."""

    x: int
    count: int
    height: float
    flagged: bool


@dataclass(frozen=True)
class Histogram:
    """Poison scores of the samples of attacked labels, in logarithmic bars; ticks are counts with their heights."""

    bars: list[Bar]
    ticks: list[tuple[int, float]]
    cut: float | None
    above: int
    samples: int


def histogram(score: np.ndarray, cut: float | None) -> Histogram | None:
    """Of scores in [0,1]; None where there are none."""
    score = score[~np.isnan(score)]
    if not len(score):
        return None
    counts = np.bincount((score * BINS).astype(int).clip(0, BINS - 1), minlength=BINS).tolist()
    top = math.log10(1 + max(counts))
    bars = [
        Bar(x, n, round(BAR * math.log10(1 + n) / top, 1), cut is not None and x / BINS >= cut)
        for x, n in enumerate(counts)
        if n
    ]
    ticks = [(10**k, round(BAR * math.log10(1 + 10**k) / top, 1)) for k in range(int(math.log10(max(counts))) + 1)]
    return Histogram(bars, ticks, cut, 0 if cut is None else int((score > cut).sum()), len(score))


@dataclass(frozen=True)
class Node:
    """A label at one side of the flow, with its samples."""

    name: str
    count: int
    y: float
    height: float


@dataclass(frozen=True)
class Flow:
    """Where the changed samples of each label go; bands are outlines from x = 0 to 100."""

    left: list[Node]
    right: list[Node]
    bands: list[tuple[str, str]]
    height: float
    samples: int


def flow(table: pa.Table) -> Flow | None:
    """The samples of a manifest that are not kept, from given to new label; None where there are none."""
    groups = table.group_by(["class", "new_class", "action"]).aggregate([([], "count_all")]).to_pylist()
    pairs: Counter[tuple[str, str]] = Counter()
    for group in groups:
        if group["action"] != "kept":
            new = _short(group["new_class"]) if group["new_class"] else NOT_WRITTEN
            pairs[_short(group["class"]) if group["class"] else "no label", new] += group["count_all"]
    if not pairs:
        return None
    given, new = (_most({pair[side]: None for pair in pairs}, pairs, side) for side in (0, 1))
    merged: Counter[tuple[str, str]] = Counter()
    for (old, to), count in pairs.items():
        merged[given.get(old, "other labels"), new.get(to, "other labels")] += count
    total = merged.total()
    sides = [_nodes(merged, side, total) for side in (0, 1)]
    height = max(nodes[-1].y + nodes[-1].height for nodes in sides)
    left, right = ([_moved(node, (height - nodes[-1].y - nodes[-1].height) / 2) for node in nodes] for nodes in sides)
    return Flow(left, right, _bands(merged, left, right), height, total)


def _most(names: Iterable[str], pairs: Counter[tuple[str, str]], side: int) -> dict[str, str]:
    """The names with the most samples, as many as are shown."""
    counts = Counter(dict.fromkeys(names, 0))
    for pair, count in pairs.items():
        counts[pair[side]] += count
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    shown = ranked if len(ranked) <= NODES else ranked[: NODES - 1]
    return {name: name for name in shown}


def _nodes(pairs: Counter[tuple[str, str]], side: int, total: int) -> list[Node]:
    counts: Counter[str] = Counter()
    for pair, count in pairs.items():
        counts[pair[side]] += count
    nodes: list[Node] = []
    y = 0.0
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        nodes.append(Node(name, counts[name], y, NODE + BANDS * counts[name] / total))
        y += nodes[-1].height + GAP
    return nodes


def _moved(node: Node, by: float) -> Node:
    return Node(node.name, node.count, round(node.y + by, 1), round(node.height, 1))


def _bands(pairs: Counter[tuple[str, str]], left: list[Node], right: list[Node]) -> list[tuple[str, str]]:
    """What is said of each band, and its outline."""
    starts, ends = ({node.name: node.y for node in nodes} for nodes in (left, right))
    bands = []
    for a in left:
        for b in right:
            if count := pairs[a.name, b.name]:
                y, z = starts[a.name], ends[b.name]
                starts[a.name] = low = y + a.height * count / a.count
                ends[b.name] = end = z + b.height * count / b.count
                outline = (
                    f"M0 {y:.1f}C50 {y:.1f} 50 {z:.1f} 100 {z:.1f}V{end:.1f}C50 {end:.1f} 50 {low:.1f} 0 {low:.1f}Z"
                )
                bands.append((f"{count:,} from {a.name} to {b.name}", outline))
    return bands


def _short(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"
