"""What the charts of the report show."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_world import kept, relabelled, result_of, set_aside

from elixir.detection.decide import LabelReport, LabelTest
from elixir.pages.charts import NODES, NOT_WRITTEN, flow, histogram, strips

LIMITS = {"min_score": 0.3, "min_mislabeled_fraction": 0.5}


def report(label: int, *scores: float, kind: str = "direct", attacked: bool = False, unknown: str = "") -> LabelReport:
    tests = tuple(LabelTest("joint", kind, 5, score, attacked) for score in scores)  # type: ignore[arg-type]
    return LabelReport(label, f"label {label}", 9, tests, tests[0] if attacked else None, unknown)


def test_a_strip_has_the_best_score_of_every_label():
    [strip] = strips(
        [report(0, 0.1, 0.8, attacked=True), report(1, 0.05, 0.02), report(2, 0.04, unknown="few")], LIMITS
    )
    assert [(dot.name, dot.score, dot.x, dot.state) for dot in strip.dots] == [
        ("label 0", 0.8, 80.0, "attacked"),
        ("label 1", 0.05, 5.0, "judged"),
        ("label 2", 0.04, 4.0, "unknown"),
    ]
    assert [dot.name for _, dot in strip.named] == ["label 0", "label 1"]
    assert (strip.threshold, strip.labels) == (0.3, 3)


def test_each_kind_of_test_has_a_strip_with_its_threshold():
    reports = [report(0, 0.2), report(1, 0.7, kind="holdout", attacked=True), report(2, 0.9, kind="discrepancy")]
    assert [strip.threshold for strip in strips(reports, LIMITS)] == [0.3, 0.5, None]
    assert strips([LabelReport(0, "untested", 9)], LIMITS) == []


def test_dots_of_the_same_score_do_not_hide_each_other_and_thousands_stay_few():
    [strip] = strips([report(label, 0.0) for label in range(5000)], LIMITS)
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
