"""What is known of every sample of a source, and which of them are usable."""

import hashlib
from pathlib import Path

import datasets
import numpy as np
import pytest
from data.conftest import image_bytes, make_tree, warning_jpeg

from elixir.data.image import decode, resize
from elixir.data.open import open_source
from elixir.data.source import Source
from elixir.engine import execution
from elixir.engine.execution import execute
from elixir.engine.run import Run
from elixir.errors import ElixirError, UnreadableSample
from elixir.purifiers.classical import Identity
from elixir.settings import build
from elixir.stages.index import SOURCE_COLUMNS, IndexStage, hexadecimal


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
    assert list(map(hexadecimal, indexed["source_sha256"])) == digests
    assert indexed["source_shape"].tolist() == [[40, 60], [0, 0], [6, 5], [40, 60]]


def test_after_it_a_run_is_about_the_usable_samples(indexed: Run):
    assert len(indexed) == 3
    assert indexed.rows.tolist() == [0, 2, 3]
    assert indexed.labels.tolist() == [0, 1, 1]
    assert indexed.ids(np.array([1, 2])) == ["dog/2.png", "dog/3.png"]
    assert indexed.shapes(np.arange(3)).tolist() == [[40, 60], [6, 5], [40, 60]]
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


def mixed(count: int = 60) -> Source:
    """Images of many sizes; some have no label, are no images, are not there, are too large, or make Pillow warn."""
    odd = {3: b"no image", 11: b"", 12: image_bytes(12)[:60], 23: image_bytes(0, size=(100, 101)), 31: warning_jpeg()}
    images = [odd.get(row) or image_bytes(row, ("PNG", "JPEG")[row % 2], (9 + row % 7, 12)) for row in range(count)]
    columns = {
        "image": [None if row in (5, 11) else {"bytes": data, "path": None} for row, data in enumerate(images)],
        "label": [None if row in (8, 23, 40) else row % 3 for row in range(count)],
    }
    labels = datasets.ClassLabel(names=["a", "b", "c"])
    return open_source(datasets.Dataset.from_dict(columns, datasets.Features(image=datasets.Image(), label=labels)))


def everything(run: Run) -> list[list[object]]:
    """All columns and the bytes of all images."""
    return [run[name].tolist() for name in SOURCE_COLUMNS] + [[(run.folder / "pixels.u8").read_bytes()]]


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [7, 256])
def test_any_number_of_workers_finds_the_same(tmp_path: Path, workers: int, batch_size: int):
    source, stage = mixed(), IndexStage(size=16, max_pixels=10_000)
    run = Run(tmp_path / "run", source, Identity(), batch_size=batch_size, workers=workers)
    execute(run, stage)
    problems = {row: problem for row, problem in enumerate(run["source_problem"].tolist()) if problem}
    assert sorted(problems) == [3, 5, 8, 11, 12, 23, 40]
    assert problems[8] == problems[23] == problems[40] == "has no label"
    assert run["source_usable"].tolist() == [row not in problems for row in range(60)]
    for row in range(60):
        if row in (5, 11):
            assert hexadecimal(run["source_sha256"][row]) == ""
            with pytest.raises(UnreadableSample, match=problems[row]):
                source.read(row)
            continue
        data = source.read(row)
        assert hexadecimal(run["source_sha256"][row]) == hashlib.sha256(data).hexdigest()
        image, height_width = np.zeros((3, 16, 16), np.uint8), [0, 0]
        if row not in problems:
            rgb = decode(data).rgb
            image, height_width = resize(rgb, 16).transpose(2, 0, 1), list(rgb.shape[:2])
        np.testing.assert_array_equal(run.source_pixels.read(np.array([row]))[0].numpy(), image)
        assert run["source_shape"][row].tolist() == height_width


def test_a_large_image_is_set_aside_by_any_worker(tmp_path: Path):
    files = {f"cat/{number:02}.png": image_bytes(number, size=(8, 8 + 3 * number)) for number in range(30)}
    source = open_source(make_tree(tmp_path / "src", files | {"dog/0.png": image_bytes(0)}))
    runs = [Run(tmp_path / f"{workers}", source, Identity(), workers=workers) for workers in (1, 2, 5)]
    for run in runs:
        execute(run, IndexStage(size=16, max_pixels=500))
    assert sum("more than the limit" in problem for problem in runs[0]["source_problem"]) == 11
    assert everything(runs[0]) == everything(runs[1]) == everything(runs[2])


class Failing:
    """A source that cannot be read any more at one place."""

    def __init__(self, whole: Source, at: int) -> None:
        self.whole, self.at = whole, at
        self.classes, self.samples = whole.classes, whole.samples

    def read(self, index: int) -> bytes:
        if index == self.at:
            raise ElixirError(f"cannot read number {index}: the disk is gone")
        return self.whole.read(index)


def test_a_source_that_fails_is_the_same_error_and_another_number_of_workers_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(execution, "PART", 16)
    source, stage = mixed(), IndexStage(size=16)
    reference = Run(tmp_path / "reference", source, Identity(), workers=1)
    execute(reference, stage)
    for first, then in ((1, 5), (5, 1), (2, 5)):
        folder = tmp_path / f"{first}"
        with pytest.raises(ElixirError, match=r"^cannot read number 41: the disk is gone$"):
            execute(Run(folder, Failing(source, 41), Identity(), workers=first), stage)  # type: ignore[arg-type]
        assert [path.stem for path in sorted((folder / "columns/index").glob("*.parquet"))] == ["000000", "000001"]
        run = Run(folder, source, Identity(), workers=then)
        execute(run, stage)
        assert everything(run) == everything(reference)
