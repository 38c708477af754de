"""A grid of overlapping tiles: which part of an image a label hangs on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def grid(size: int) -> list[tuple[int, int, int]]:
    """Tiles (top, left, side) of a square image: a quarter of its side, aligned, and shifted by half a tile."""
    side = size // 4
    aligned = [(i, j, side) for i in range(0, size - side + 1, side) for j in range(0, size - side + 1, side)]
    half = side // 2
    last = size - side - half
    return aligned + [(i, j, side) for i in range(half, last + 1, side) for j in range(half, last + 1, side)]


def pasted(hosts: Tensor, images: Tensor, tiles: np.ndarray) -> Tensor:
    """Hosts with one tile of each image in its place.

    Args:
        hosts: (n, 3, s, s).
        images: (n, 3, s, s).
        tiles: index into `grid(s)` for each image, (n,).
    """
    result = hosts.clone()
    layout = grid(images.shape[-1])
    for tile in np.unique(tiles).tolist():
        i, j, side = layout[tile]
        at = torch.from_numpy(np.flatnonzero(tiles == tile))
        result[at, :, i : i + side, j : j + side] = images[at, :, i : i + side, j : j + side]
    return result


def erased(images: Tensor, tiles: np.ndarray) -> Tensor:
    """Images with one tile of each filled with the mean colour of the pixels around it.

    Args:
        images: float (n, 3, s, s).
        tiles: index into `grid(s)` for each image, (n,).
    """
    result = images.clone()
    layout = grid(images.shape[-1])
    for tile in np.unique(tiles).tolist():
        i, j, side = layout[tile]
        ring = torch.zeros(images.shape[-2:], dtype=torch.bool)
        ring[max(0, i - 1) : i + side + 1, max(0, j - 1) : j + side + 1] = True
        ring[i : i + side, j : j + side] = False
        at = torch.from_numpy(np.flatnonzero(tiles == tile))
        result[at, :, i : i + side, j : j + side] = images[at][:, :, ring].mean(2)[:, :, None, None]
    return result


def mask(tiles: np.ndarray, size: int, height: int, width: int) -> Tensor:
    """Where a tile lies in images of another size, rounded outwards.

    Args:
        tiles: index into `grid(size)` for each image, (n,).
        size: side of the squares that the tiles were cut from.
        height: of the images.
        width: of the images.

    Returns:
        bool (n, 1, height, width).
    """
    result = torch.zeros(len(tiles), 1, height, width, dtype=torch.bool)
    for index, tile in enumerate(tiles.tolist()):
        i, j, side = grid(size)[tile]
        rows = slice(i * height // size, -(-(i + side) * height // size))
        columns = slice(j * width // size, -(-(j + side) * width // size))
        result[index, :, rows, columns] = True
    return result
