"""The pixel file: parts in any order, reads in any order, nothing read that was not written."""

import gc
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elixir.data import pixels
from elixir.data.image import decode, resize
from elixir.data.open import open_source
from elixir.data.pixels import PixelStore, cache_pixels
from elixir.errors import ElixirError

from .conftest import image_bytes, make_tree


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 3, 5, 5), dtype=np.uint8)


def test_parts_in_any_order_and_twice(tmp_path, images) -> None:
    with PixelStore(tmp_path / "pixels", 5) as store:
        assert len(store) == 0
        store.write(np.arange(12, 20), images[12:])
        store.write(np.arange(12), 255 - images[:12])
        store.write(np.arange(12), images[:12])
        assert len(store) == 20
        assert torch.equal(store.read(torch.arange(20)), torch.from_numpy(images))
    with PixelStore(tmp_path / "pixels", 5) as store:
        assert torch.equal(store.read(np.array([19, 3])), torch.from_numpy(images[[19, 3]]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 19), unique=True))
def test_written_in_any_order(tmp_path_factory, indices) -> None:
    images = np.random.default_rng(1).integers(0, 256, (20, 3, 2, 2), dtype=np.uint8)
    wanted = np.array(indices, np.int64)
    with PixelStore(tmp_path_factory.mktemp("pixels") / "pixels", 2) as store:
        store.write(wanted, images[wanted])
        assert torch.equal(store.read(wanted), torch.from_numpy(images[wanted]))
        assert len(store) == max(indices, default=-1) + 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 19), max_size=30))
def test_read_in_any_order(tmp_path_factory, indices) -> None:
    images = np.random.default_rng(1).integers(0, 256, (20, 3, 2, 2), dtype=np.uint8)
    with PixelStore(tmp_path_factory.mktemp("pixels") / "pixels", 2) as store:
        store.write(np.arange(20), images)
        got = store.read(torch.tensor(indices, dtype=torch.int64))
    assert got.dtype == torch.uint8
    assert torch.equal(got, torch.from_numpy(images[np.array(indices, np.int64)]))


@pytest.mark.parametrize("index", [-1, 20])
def test_what_was_not_written_is_an_error(tmp_path, images, index) -> None:
    with PixelStore(tmp_path / "pixels", 5) as store:
        store.write(np.arange(20), images)
        with pytest.raises(ElixirError, match="index again"):
            store.read(torch.tensor([index]))


def test_wrong_shape_or_type(tmp_path, images) -> None:
    with PixelStore(tmp_path / "pixels", 4) as store:
        with pytest.raises(ValueError, match="records must be"):
            store.write(np.arange(20), images)
        with pytest.raises(ValueError, match="records must be"):
            store.write(np.arange(20), images[..., :4, :4].astype(np.float32))


def test_full_disk(tmp_path, images, monkeypatch) -> None:
    def full(*args):
        raise OSError(28, "No space left on device")

    with pytest.raises(ElixirError, match="cannot write"):
        PixelStore(tmp_path / "missing/pixels", 5)
    with PixelStore(tmp_path / "pixels", 5) as store:
        monkeypatch.setattr("os.pwrite", full)
        with pytest.raises(ElixirError, match="no space left on device"):
            store.write(np.arange(20), images)


def test_a_store_that_is_not_needed_any_more_is_closed(tmp_path, images) -> None:
    store = PixelStore(tmp_path / "pixels", 4)
    number = store._file
    os.fstat(number)
    del store
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_images_of_a_source_in_its_order(tmp_path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "AT_ONCE", 7)
    files = {f"cat/{number:02}.png": image_bytes(number, size=(8 + number % 3, 9)) for number in range(40)}
    broken = {**dict.fromkeys(map("cat/{:02}.png".format, range(7, 14)), b""), "cat/29.png": b"no image"}
    source = open_source(make_tree(tmp_path / "src", files | broken | {"dog/0.png": image_bytes(99)}))
    steps: list[int] = []
    store, rows = cache_pixels(source, tmp_path / "pixels", 6, steps.append, workers)
    assert rows.tolist() == [row for row in range(41) if not 7 <= row < 14 and row != 29]
    assert sum(steps) == 41
    with store:
        for record, row in enumerate(rows.tolist()):
            expected = resize(decode(source.read(row)).rgb, 6).transpose(2, 0, 1)
            np.testing.assert_array_equal(store.read(np.array([record]))[0].numpy(), expected)


def test_a_source_without_an_image_that_can_be_read(tmp_path) -> None:
    source = open_source(make_tree(tmp_path / "src", {"cat/0.png": b"", "dog/0.png": b"no image"}))
    store, rows = cache_pixels(source, tmp_path / "pixels", 6)
    assert (len(store), rows.tolist(), rows.dtype) == (0, [], np.int64)
