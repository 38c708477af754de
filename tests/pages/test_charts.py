"""What the charts of the report show."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_world import kept, relabelled, result_of, set_aside

from elixir.detection.reports import LabelReport, LabelTest
from elixir.pages.charts import NODES, NOT_WRITTEN, flow, histogram, strips


def report(label: int, *scores: float, kind: str = "direct", attacked: bool = False, unknown: str = "") -> LabelReport:
    tests = tuple(LabelTest("joint", kind, 5, score, attacked) for score in scores)  # type: ignore[arg-type]
    return LabelReport(label, f"label {label}", 9, tests, tests[0] if attacked else None, unknown)


def rare(label: int, false_alarms: float, attacked: bool = False, unknown: str = "") -> LabelReport:
    weak, strong = LabelTest("joint", "direct", 5, 0.6, False), LabelTest("seed", "holdout", 5, 0.3, attacked)
    tests = replace(weak, surprise=0.5), replace(strong, surprise=2.0)
    decided_by = tests[1] if attacked else None
    return LabelReport(label, f"label {label}", 9, tests, decided_by, unknown, false_alarms=false_alarms)


def test_a_strip_shows_how_rare_the_evidence_against_every_label_is_with_the_score_that_surprises_most():
    [strip] = strips([rare(0, 1e-9, attacked=True), rare(1, 0.1), rare(2, 2, unknown="few"), rare(3, 0.003)], 0.01)
    assert [(dot.name, dot.score, dot.x, dot.state) for dot in strip.dots] == [
        ("label 0", 0.3, 100.0, "attacked"),
        ("label 3", 0.3, 63.1, "judged"),
        ("label 1", 0.3, 25.0, "judged"),
        ("label 2", 0.3, 0.0, "unknown"),
    ]
    assert [dot.name for _, dot in strip.named] == ["label 0", "label 3"]
    assert strip.cut == (50.0, "alarm rate 0.01")
    assert strip.ticks == [
        (0.0, "1 in 1"),
        (25.0, "1 in 10"),
        (50.0, "1 in 100"),
        (75.0, "1 in 1,000"),
        (100.0, "1 in 10,000"),
    ]
    assert strip.labels == 4


def test_where_rarity_is_not_known_each_kind_of_test_has_a_strip_of_the_best_scores():
    [strip] = strips([report(0, 0.1, 0.8, attacked=True), report(1, 0.05, 0.02), report(2, 0.04, unknown="few")], 0.01)
    assert [(dot.name, dot.score, dot.x, dot.state) for dot in strip.dots] == [
        ("label 0", 0.8, 80.0, "attacked"),
        ("label 1", 0.05, 5.0, "judged"),
        ("label 2", 0.04, 4.0, "unknown"),
    ]
    assert (strip.cut, strip.ticks, strip.labels) == (None, [(0.0, "0"), (50.0, "0.5"), (100.0, "1")], 3)
    reports = [report(0, 0.2), report(1, 0.7, kind="holdout", attacked=True), report(2, 0.9, kind="discrepancy")]
    assert len({strip.heading for strip in strips(reports, 0.01)}) == 3
    assert strips([LabelReport(0, "untested", 9)], 0.01) == []


def test_dots_of_the_same_score_do_not_hide_each_other_and_thousands_stay_few():
    [strip] = strips([report(label, 0.0) for label in range(5000)], 0.01)
    assert len(strip.dots) == len({(dot.x, dot.y) for dot in strip.dots}) == 7
    assert strip.labels == 5000


def test_every_score_is_in_the_histogram():
    drawn = histogram(np.array([0, 0.005, 0.015, 0.5, 0.999, 1, np.nan], np.float32), 0.01)
    assert drawn
    assert [(bar.x, bar.count, bar.flagged) for bar in drawn.bars] == [
        (0, 2, False),
        (1, 1, True),
        (50, 1, True),
        (99, 2, True),
    ]
    assert (drawn.samples, drawn.above) == (6, 4)
    assert max(bar.height for bar in drawn.bars) == 120
    assert histogram(np.array([np.nan]), 0.01) is None


def test_the_flow_counts_what_was_not_kept(tmp_path: Path):
    rows = [relabelled("a"), relabelled("b"), relabelled("c", to=2), set_aside("d"), kept("e")]
    drawn = flow(result_of(tmp_path, rows).table)
    assert drawn
    assert [(node.name, node.count) for node in drawn.left] == [("cat", 4)]
    assert [(node.name, node.count) for node in drawn.right] == [("dog", 2), (NOT_WRITTEN, 1), ("owl", 1)]
    assert [told for told, _ in drawn.bands] == [
        "2 from cat to dog",
        f"1 from cat to {NOT_WRITTEN}",
        "1 from cat to owl",
    ]
    assert flow(result_of(tmp_path, [kept("e")]).table) is None


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flow")


@given(pairs=st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), min_size=1, max_size=60))
def test_flows_of_many_labels_lose_no_sample(place: Path, pairs: list[tuple[int, int]]):
    rows = [relabelled("x", label=old, to=new) for old, new in pairs]
    drawn = flow(result_of(place, rows, classes=[f"class {n}" for n in range(20)]).table)
    assert drawn
    for nodes in (drawn.left, drawn.right):
        assert len(nodes) <= NODES
        assert sum(node.count for node in nodes) == drawn.samples == len(pairs)
        assert all(a.y + a.height < b.y for a, b in pairwise(nodes))
        assert nodes[-1].y + nodes[-1].height <= drawn.height + 0.1
    assert sum(int(told.split()[0]) for told, _ in drawn.bands) == len(pairs)
