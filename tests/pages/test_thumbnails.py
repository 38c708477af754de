"""Thumbnails, many of them in one picture."""

import io
import tracemalloc
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from report_world import MadePictures
from small_world import png

from elixir.pages.thumbnails import ACROSS, DOWN, INLINE, SIDE, ContactSheets, Pictures, write_sheets


def sheets_of(
    folder: Path, rows: list[int], pictures: Pictures, size: int = 8
) -> tuple[ContactSheets, list[np.ndarray]]:
    shapes = np.full((len(rows), 2), size)
    sheets = write_sheets(np.array(rows, np.int64), np.ones(len(rows), bool), shapes, pictures, folder / "report")
    return sheets, [np.array(Image.open(io.BytesIO(content(folder, url)))) for url in sheets.urls]


def content(folder: Path, url: str) -> bytes:
    prefix = "data:image/png;base64,"
    return b64decode(url.removeprefix(prefix)) if url.startswith(prefix) else (folder / url).read_bytes()


def cells(sheets: list[np.ndarray], side: int) -> np.ndarray:
    """The pictures in order, uint8 (sheets * ACROSS * DOWN, 2, side, side, 4)."""
    stacked = np.stack(sheets).reshape(len(sheets), DOWN, side, ACROSS, 2, side, 4)
    return stacked.transpose(0, 1, 3, 4, 2, 5, 6).reshape(-1, 2, side, side, 4)


@pytest.mark.parametrize("count", [1, 33, INLINE, INLINE + 1])
def test_every_sample_is_at_its_place(tmp_path: Path, count: int):
    rows = np.random.default_rng(0).permutation(count).tolist()
    pictures = MadePictures()
    sheets, images = sheets_of(tmp_path, rows, pictures)
    found = cells(images, 8)
    assert found[:count, :, :, :, 3].min() == 255
    levels = np.array(rows) % 200
    assert (found[:count, 0, :, :, 0] == levels[:, None, None]).all()
    assert (found[:count, 1, :, :, 2] == levels[:, None, None] + 10).all()
    assert not found[count:].any()
    assert sheets.present.all()
    assert pictures.asked == list(range(count))  # as tables and shards are read
    files = sorted(path.name for path in (tmp_path / "report").glob("*")) if count > INLINE else []
    assert files == sorted({Path(url).name for url in sheets.urls if not url.startswith("data:")})
    assert [path.name for path in tmp_path.iterdir()] == (["report"] if files else [])


def test_what_an_earlier_report_has_left_is_gone(tmp_path: Path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report/old.png").touch()
    sheets_of(tmp_path, [0], MadePictures())
    assert not (tmp_path / "report").exists()


def test_no_samples_no_sheets(tmp_path: Path):
    sheets, images = sheets_of(tmp_path, [], MadePictures())
    assert (sheets.urls, images, sheets.present.shape) == ([], [], (0, 2))


class Files:
    def __init__(self, *files: tuple[bytes, bytes | None]) -> None:
        self.files = files

    def before(self, row: int) -> bytes:
        return self.files[row][0]

    def after(self, row: int) -> bytes | None:
        return self.files[row][1]


def test_what_is_not_there_stays_empty(tmp_path: Path):
    grey = png(np.full((4, 4, 3), 9, np.uint8))
    sheets, images = sheets_of(tmp_path, [0, 1], Files((b"no image", grey), (grey, None)), size=4)
    assert sheets.present.tolist() == [[False, True], [True, False]]
    assert (cells(images, 4)[:2, :, 0, 0, 3] > 0).tolist() == sheets.present.tolist()


def test_pictures_of_all_sizes_fit_and_stand_upright(tmp_path: Path):
    wide = png(np.full((50, 400, 3), 200, np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned clockwise
    turned = io.BytesIO()
    Image.fromarray(np.repeat(np.array([[[0]], [[250]]], np.uint8), 3, axis=2).repeat(100, 0).repeat(200, 1)).save(
        turned, "PNG", exif=exif
    )
    small = png(np.array([[[0] * 3, [255] * 3]], np.uint8).repeat(2, 0))
    files = Files((wide, None), (turned.getvalue(), None), (small, None))
    shapes = np.array([[50, 400], [200, 200], [2, 2]])
    sheets = write_sheets(np.arange(3), np.zeros(3, bool), shapes, files, tmp_path / "report")
    found = cells([np.array(Image.open(io.BytesIO(content(tmp_path, url)))) for url in sheets.urls], SIDE)[:, 0]
    assert found[0, :, 48, 3].tolist() == [0] * 42 + [255] * 12 + [0] * 42
    assert found[1, 48, :, 0].tolist()[::95] == [250, 0]  # what was above is right
    assert set(np.unique(found[2, ..., 0])) == {0, 255}  # not blurred
    assert not sheets.present[:, 1].any()


def test_memory_does_not_grow_with_the_samples(tmp_path: Path):
    def peak(count: int) -> int:
        tracemalloc.start()
        sheets_of_nothing = write_sheets(
            np.arange(count), np.zeros(count, bool), np.full((count, 2), 64), MadePictures(64), tmp_path / "report"
        )
        assert len(sheets_of_nothing.urls) == -(-count // (ACROSS * DOWN))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    first = peak(INLINE + 1)
    assert peak(4 * INLINE) < first + 300 * 3 * INLINE  # some numbers and a name a sample; a thumbnail has 16 kB
