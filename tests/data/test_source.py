"""Some samples of a dataset."""

from pathlib import Path

from small_world import make_shapes

from elixir.data.open import open_source
from elixir.data.source import Subset


def test_a_subset_keeps_ids_labels_and_bytes(tmp_path: Path):
    whole = open_source(make_shapes(tmp_path / "shapes", count=5, poisoned=0))
    subset = Subset(whole, [2, 7, 11])
    assert open_source(subset) is subset
    assert subset.samples == [whole.samples[row] for row in (2, 7, 11)]
    assert [subset.read(index) for index in range(3)] == [whole.read(row) for row in (2, 7, 11)]
    assert subset.classes == whole.classes
    assert subset.fingerprint() != Subset(whole, [2, 7, 12]).fingerprint()
    assert subset.fingerprint() == Subset(whole, [2, 7, 11]).fingerprint()
