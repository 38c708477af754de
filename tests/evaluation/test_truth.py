"""Scores against values counted by hand."""

import pyarrow as pa
import pytest

from elixir.errors import ElixirError
from elixir.evaluation.truth import recovery


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
        ("h", "cover", "dog"),
        ("i", "poisoned", "cat"),
        ("j", "clean", "dog"),
        ("", "clean", "dog"),
    ],
    ["output", "truth", "class"],
)


def test_recovery_counts_by_hand():
    manifest = table(
        [
            ("a", "relabelled", "cat", 0.9),
            ("b", "relabelled", "dog", 0.8),
            ("c", "quarantined", "", 0.7),
            ("d", "kept", "cat", 0.1),
            ("e", "purified", "cat", 0.5),
            ("f", "kept", "dog", 0.2),
            ("g", "relabelled", "cat", 1.0),
            ("h", "kept", "dog", 0.0),
            ("i", "purified", "cat", 0.6),
            ("j", "quarantined", "", float("nan")),
        ],
        ["id", "action", "new_class", "poison_score"],
    )
    score = recovery(manifest, TRUTH)
    assert (score.poisoned, score.clean, score.covers) == (5, 2, 2)
    assert score.tpr == 0.8
    assert (score.relabelled, score.replaced) == (0.4, 0.6)
    assert score.relabel_accuracy == 0.4
    assert score.removed == 0.2
    assert score.fpr == 0.5
    assert score.covers_changed == 0.5
    assert score.auc == 8 / 10  # two of ten pairs are the wrong way round; "j" could not be looked at


def test_foreign_truth_is_refused():
    manifest = table([("z", "kept", "cat", 0.0)], ["id", "action", "new_class", "poison_score"])
    with pytest.raises(ElixirError, match="another dataset"):
        recovery(manifest, TRUTH)
