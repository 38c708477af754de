"""Some samples of a dataset, and a line about its classes."""

from pathlib import Path

import numpy as np
import pytest
from small_world import make_shapes

from elixir.data.open import open_source
from elixir.data.source import Subset, describe_classes


def test_a_subset_keeps_ids_labels_and_bytes(tmp_path: Path):
    whole = open_source(make_shapes(tmp_path / "shapes", count=5, poisoned=0))
    subset = Subset(whole, [2, 7, 11])
    assert open_source(subset) is subset
    assert list(subset.samples) == [whole.samples[row] for row in (2, 7, 11)]
    assert [subset.read(index) for index in range(3)] == [whole.read(row) for row in (2, 7, 11)]
    assert subset.classes == whole.classes
    assert subset.fingerprint() != Subset(whole, [2, 7, 12]).fingerprint()
    assert subset.fingerprint() == Subset(whole, [2, 7, 11]).fingerprint()


@pytest.mark.parametrize(
    ("names", "labels", "line"),
    [
        (["cat", "dog"], [0, 0, 1, 1], "2 classes: cat, dog (2 samples each)"),
        (
            ["cat", "dog", "owl"],
            [1, 0, 1, -1, 1, -1],
            "3 classes: cat, dog, owl (0 to 3 samples each); 2 samples have no label",
        ),
        (["\x1b[2J\n", "<b>"], [0, 1], r"2 classes: \x1b[2J\n, <b> (1 samples each)"),
        (list("abcdefghij"), range(10), "10 classes: a, b, c, d, e, f, g, h, i, j (1 samples each)"),
        (list("abcdefghijk"), range(11), "11 classes: a, b, c, d, e, f, g, h, i, j, … (1 samples each)"),
        (["cat"], [0] * 7, "1 class: cat (7 samples each)"),
        ([], [-1], "0 classes:  (0 samples each); 1 samples have no label"),
    ],
)
def test_classes_are_told_in_a_line(names: list[str], labels: list[int], line: str):
    assert describe_classes(names, np.array(labels)) == line
