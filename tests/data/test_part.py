"""Some samples of a dataset."""

from pathlib import Path

from small_world import make_shapes

from elixir.data.open import open_source
from elixir.data.subset import Part


def test_a_part_keeps_ids_labels_and_bytes(tmp_path: Path):
    whole = open_source(make_shapes(tmp_path / "shapes", count=5, poisoned=0))
    part = Part(whole, [2, 7, 11])
    assert open_source(part) is part
    assert part.samples == [whole.samples[row] for row in (2, 7, 11)]
    assert [part.read(index) for index in range(3)] == [whole.read(row) for row in (2, 7, 11)]
    assert part.classes == whole.classes
    assert part.fingerprint() != Part(whole, [2, 7, 12]).fingerprint()
    assert part.fingerprint() == Part(whole, [2, 7, 11]).fingerprint()
