"""The picture of what attacks do."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_world import make_shapes

from elixir.errors import ElixirError
from elixir.evaluation.gallery import GAP, LABEL, TILE, draw_gallery


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where images lie for two attacks, one of them on images of the target class."""
    monkeypatch.setattr("elixir.evaluation.gallery.names", lambda kind: ["badnets", "sig"])
    return make_shapes(tmp_path / "shapes", count=5, poisoned=0)


def test_images_that_cannot_be_read_are_passed_over(gallery: Path, tmp_path: Path):
    (gallery / "bar" / "000.png").write_bytes(b"")
    (gallery / "spot" / "001.png").write_text("no image")
    draw_gallery(tmp_path / "gallery.png", str(gallery), "spot", quiet=True)
    sheet = np.asarray(Image.open(tmp_path / "gallery.png")).astype(int)
    tiles = [
        [sheet[top : top + TILE, LABEL + column * (TILE + GAP) :][:, :TILE] for column in range(12)]
        for top in (0, TILE + GAP)
    ]
    for row in tiles:
        for place in range(0, 12, 3):
            before, after, difference = row[place : place + 3]
            assert (before != after).any()
            assert np.array_equal(difference, (128 + 4 * (after - before)).clip(0, 255))
    corner = np.s_[: TILE // 2, : TILE // 2]
    assert np.array_equal(tiles[0][0][corner], tiles[0][1][corner])  # a patch is not there


def test_attacks_on_one_source_class_are_shown_on_it(gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("elixir.evaluation.gallery.names", lambda kind: ["tact"])
    for path in (gallery / "post").iterdir():
        path.write_bytes((gallery / "bar" / path.name).read_bytes())
    for path in (gallery / "bar").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ElixirError, match="no readable image of 'bar'"):
        draw_gallery(tmp_path / "gallery.png", str(gallery), "spot", quiet=True)
    draw_gallery(tmp_path / "gallery.png", str(gallery), "bar", quiet=True)
    assert (tmp_path / "gallery.png").exists()


def test_a_class_without_images_is_named(gallery: Path, tmp_path: Path):
    for path in (gallery / "spot").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ElixirError, match="no readable image of 'spot'"):
        draw_gallery(tmp_path / "gallery.png", str(gallery), "spot", quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]
