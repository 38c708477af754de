"""The grid of tiles: summed over, pasted, erased, and as a mask of another size."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elixir.detection.tiles import erase, grid, mask, paste, tile_sums


@given(st.sampled_from([16, 24, 32, 40, 56, 64, 100, 512]))
def test_tiles_cover_the_image_and_stay_inside(size: int):
    covered = np.zeros((size, size), bool)
    for i, j, side in grid(size, 4):
        assert i >= 0
        assert j >= 0
        assert i + side <= size
        assert j + side <= size
        covered[i : i + side, j : j + side] = True
    assert covered[: 4 * (size // 4), : 4 * (size // 4)].all()


@pytest.mark.parametrize(("size", "per_side"), [(32, 4), (16, 4), (37, 4), (24, 3), (20, 2)])
def test_sums_over_tiles_are_those_of_a_loop(size: int, per_side: int):
    maps = torch.randn(3, size, size, generator=torch.Generator().manual_seed(0))
    sums = tile_sums(maps, per_side)
    assert sums.shape == (3, len(grid(size, per_side)))
    for image, found in zip(maps.double().numpy(), sums.numpy(), strict=True):
        for tile, (i, j, side) in enumerate(grid(size, per_side)):
            expected = sum(image[y, x] for y in range(i, i + side) for x in range(j, j + side))
            assert found[tile] == pytest.approx(expected, abs=1e-4)


def test_paste_and_erase_change_one_tile_only():
    images, carriers = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    tiles = np.array([15, 20])
    changed = paste(carriers, images, tiles, 4)
    gone = erase(images, tiles, 4)
    for index, tile in enumerate(tiles):
        i, j, side = grid(32, 4)[tile]
        inside = torch.zeros(32, 32, dtype=torch.bool)
        inside[i : i + side, j : j + side] = True
        assert torch.equal(changed[index][:, inside], images[index][:, inside])
        assert torch.equal(changed[index][:, ~inside], carriers[index][:, ~inside])
        assert torch.equal(gone[index][:, ~inside], images[index][:, ~inside])
        around = torch.zeros(32, 32, dtype=torch.bool)
        around[max(0, i - 1) : i + side + 1, max(0, j - 1) : j + side + 1] = True
        colour = images[index][:, around & ~inside].mean(1)
        assert torch.allclose(gone[index][:, inside], colour[:, None].expand(-1, side * side))


@given(st.integers(0, 24), st.integers(8, 90), st.integers(8, 90))
def test_a_mask_covers_its_tile_at_any_size(tile: int, height: int, width: int):
    i, j, side = grid(32, 4)[tile]
    where = mask(np.array([tile]), 32, 4, height, width)[0, 0]
    y, x = (np.arange(height) + 0.5) * 32 / height, (np.arange(width) + 0.5) * 32 / width
    inside = ((y > i) & (y < i + side))[:, None] & ((x > j) & (x < j + side))
    assert where[torch.from_numpy(inside)].all()
    assert where.sum() <= (side * height / 32 + 2) * (side * width / 32 + 2)
