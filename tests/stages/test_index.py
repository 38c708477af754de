"""What is known of every sample of a source, and which of them are usable."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from data.conftest import image_bytes, make_tree

from elixir.data.open import open_source
from elixir.engine.local import execute
from elixir.engine.run import Run
from elixir.errors import ElixirError
from elixir.purifiers.classical import Identity
from elixir.settings import build
from elixir.stages.index import IndexStage


@pytest.fixture
def indexed(tmp_path: Path) -> Run:
    """Four files, of which the second is no image."""
    files = {"cat/0.png": image_bytes(0, size=(40, 60)), "cat/1.png": b"no image", "dog/2.png": image_bytes(2)}
    run = Run(
        tmp_path / "run",
        open_source(make_tree(tmp_path / "src", files | {"dog/3.png": image_bytes(3, size=(40, 60))})),
        Identity(),
    )
    execute(run, IndexStage())
    return run


def test_all_is_known_of_every_sample_of_the_source(indexed: Run):
    assert indexed["source_usable"].tolist() == [True, False, True, True]
    problems = indexed["source_problem"].tolist()
    assert [bool(problem) for problem in problems] == [False, True, False, False]
    digests = [hashlib.sha256(indexed.source.read(row)).hexdigest() for row in range(4)]
    assert indexed["source_sha256"].tolist() == digests
    assert indexed["source_shape"].tolist() == [[40, 60], [0, 0], [6, 5], [40, 60]]


def test_after_it_a_run_is_about_the_usable_samples(indexed: Run):
    assert len(indexed) == 3
    assert indexed.rows.tolist() == [0, 2, 3]
    assert indexed.labels.tolist() == [0, 1, 1]
    assert indexed.ids(np.array([1, 2])) == ["dog/2.png", "dog/3.png"]
    assert indexed.shapes.tolist() == [[40, 60], [6, 5], [40, 60]]
    assert indexed.read(1) == indexed.source.read(2)
    assert indexed.picture(1).rgb.shape == (6, 5, 3)
    assert indexed.pixels.read(np.arange(3)).shape == (3, 3, 48, 48)
    assert indexed.facts == {"working_size": 48, "max_pixels": 50_000_000}


@pytest.mark.parametrize(
    ("settings", "problem"), [({"size": 18}, "multiple of 4"), ({"smallest": 128}, "must not be above index.largest")]
)
def test_sizes_that_cannot_be_are_refused(settings: dict[str, object], problem: str):
    with pytest.raises(ElixirError, match=problem):
        build(IndexStage, settings)
