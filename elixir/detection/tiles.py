"""A grid of overlapping tiles: which part of an image a label depends on."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


def grid(size: int, per_side: int) -> list[tuple[int, int, int]]:
    """Tiles (top, left, side) of a square image: `per_side` along each side, and those shifted by half a tile."""
    side = size // per_side
    half = side // 2
    aligned = range(0, size - side + 1, side)
    shifted = range(half, size - side - half + 1, side)
    return [(top, left, side) for places in (aligned, shifted) for top in places for left in places]


def tile_sums(maps: Tensor, per_side: int) -> Tensor:
    """The sum of a map (n, s, s) over each tile of the `grid`, (n, tiles)."""
    layout = grid(maps.shape[-1], per_side)
    return torch.stack([maps[:, top : top + side, left : left + side].sum((1, 2)) for top, left, side in layout], 1)


def paste(carriers: Tensor, images: Tensor, tiles: np.ndarray, per_side: int) -> Tensor:
    """Carriers (n, 3, s, s) with one tile, by its index in the `grid`, of each image (n, 3, s, s) in its place."""
    result = carriers.clone()
    for index, rows, columns in _places(tiles, images.shape[-1], per_side):
        result[index, :, rows, columns] = images[index, :, rows, columns]
    return result


def erase(images: Tensor, tiles: np.ndarray, per_side: int) -> Tensor:
    """Float images (n, 3, s, s) with one tile of each filled with the mean colour of the pixels around it."""
    result = images.clone()
    for index, rows, columns in _places(tiles, images.shape[-1], per_side):
        ring = torch.zeros(images.shape[-2:], dtype=torch.bool)
        ring[max(0, rows.start - 1) : rows.stop + 1, max(0, columns.start - 1) : columns.stop + 1] = True
        ring[rows, columns] = False
        result[index, :, rows, columns] = images[index][:, :, ring].mean(2)[:, :, None, None]
    return result


def mask(tiles: np.ndarray, size: int, per_side: int, height: int, width: int) -> Tensor:
    """Where a tile of squares of side `size` lies in images of another size, rounded outwards; bool (n, 1, h, w)."""
    result = torch.zeros(len(tiles), 1, height, width, dtype=torch.bool)
    for index, rows, columns in _places(tiles, size, per_side):
        down = slice(rows.start * height // size, -(-rows.stop * height // size))
        across = slice(columns.start * width // size, -(-columns.stop * width // size))
        result[index, :, down, across] = True
    return result


def _places(tiles: np.ndarray, size: int, per_side: int) -> Iterator[tuple[Tensor, slice, slice]]:
    """For every tile in use: the images with it, int64 (m,), and its rows and columns."""
    layout = grid(size, per_side)
    for tile in np.unique(tiles).tolist():
        top, left, side = layout[tile]
        index = torch.from_numpy(np.flatnonzero(tiles == tile))
        yield index, slice(top, top + side), slice(left, left + side)
