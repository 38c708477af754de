"""Scores against values counted by hand."""

import pyarrow as pa
import pytest

from elixir.errors import ElixirError
from elixir.scoring import recovery


def table(rows: list[tuple], names: list[str]) -> pa.Table:
    return pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)})


TRUTH = table(
    [
        ("a", "poisoned", "cat"),
        ("b", "poisoned", "cat"),
        ("c", "poisoned", "dog"),
        ("d", "poisoned", "dog"),
        ("e", "clean", "cat"),
        ("f", "clean", "dog"),
        ("g", "cover", "dog"),
        ("", "clean", "dog"),
    ],
    ["output", "truth", "class"],
)


def test_recovery_counts_by_hand():
    manifest = table(
        [
            ("a", "relabelled", "cat"),
            ("b", "relabelled", "dog"),
            ("c", "quarantined", ""),
            ("d", "kept", "cat"),
            ("e", "purified", "cat"),
            ("f", "kept", "dog"),
            ("g", "relabelled", "cat"),
        ],
        ["id", "action", "new_class"],
    )
    score = recovery(manifest, TRUTH)
    assert (score.poisoned, score.clean) == (4, 2)
    assert score.found == 0.75
    assert score.recovered == 0.25
    assert score.removed == 0.25
    assert score.disturbed == 0.5


def test_foreign_truth_is_refused():
    manifest = table([("z", "kept", "cat")], ["id", "action", "new_class"])
    with pytest.raises(ElixirError, match="another dataset"):
        recovery(manifest, TRUTH)
