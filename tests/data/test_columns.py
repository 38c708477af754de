"""Columns of a stage: parts in any order and twice, numbers mapped from one file."""

import mmap
from pathlib import Path

import numpy as np
import pytest

from elixir.data.columns import Columns, StageColumns, read_columns, write_columns
from elixir.errors import ElixirError


def columns_of(indices: np.ndarray) -> Columns:
    """One column of each kind, of which all values tell the sample."""
    return {
        "score": indices / 4,
        "reason": np.array([f"é{index % 3}" if index % 2 else "" for index in indices], object),
        "features": (indices[:, None] + np.arange(6) / 8).astype(np.float16),
        "grid": (indices[:, None, None] * np.ones((2, 3))).astype(np.int32),
    }


def test_parts_in_any_order_and_again_are_one_column(tmp_path: Path):
    stage = StageColumns(tmp_path / "stage", "start again")
    parts = np.array_split(np.arange(50), 7)
    stage.write(0, parts[0], {name: values[::-1] for name, values in columns_of(parts[0]).items()})
    for number in (3, 6, 0, 5, 1, 4, 2):
        assert stage.has(number) == (number == 0)
        stage.write(number, parts[number], columns_of(parts[number]))
    assert sorted(stage.names()) == ["features", "grid", "reason", "score"]
    for name, values in columns_of(np.arange(50)).items():
        np.testing.assert_array_equal(stage.read(name, 50), values)
        assert stage.read(name, 50).dtype == values.dtype


def test_numbers_are_mapped_and_cannot_be_changed(tmp_path: Path):
    stage = StageColumns(tmp_path, "start again")
    stage.write(0, np.arange(8), columns_of(np.arange(8)))
    features, base = stage.read("features", 8), stage.read("features", 8)
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, memoryview)
    assert isinstance(base.obj, mmap.mmap)
    with pytest.raises(ValueError, match="read-only"):
        features[0] = 1
    flat = np.fromfile(tmp_path / "features.6.float16", np.float16).reshape(-1, 6)
    np.testing.assert_array_equal(flat, features)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "score.float64"), stage.read("score", 8))


def test_a_part_that_was_begun_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stage = StageColumns(tmp_path, "start again")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(ElixirError, match="no space left on device"):
        stage.write(0, np.arange(8), columns_of(np.arange(8)))
    assert not stage.has(0)


def test_a_file_that_is_cut_off_is_named(tmp_path: Path):
    stage = StageColumns(tmp_path, "start again")
    stage.write(0, np.arange(8), columns_of(np.arange(8)))
    with (tmp_path / "score.float64").open("rb+") as file:
        file.truncate(40)
    with pytest.raises(ElixirError, match=r"score\.float64 is cut off; start again"):
        stage.read("score", 8)


def test_equal_texts_are_one_object(tmp_path: Path):
    write_columns(tmp_path / "a.parquet", {"text": np.array(["x" * 99, "", "x" * 99], object)})
    (text,) = read_columns(tmp_path / "a.parquet", "start again").values()
    assert text.tolist() == ["x" * 99, "", "x" * 99]
    assert text[0] is text[2]
