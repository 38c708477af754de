"""Attacking a picture in as many channels as it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from elixir.data.image import Picture

Change = Callable[[NDArray[np.uint8], Sequence[str]], NDArray[np.uint8]]


def in_its_channels(picture: Picture, change: Change, id: str) -> NDArray[np.uint8]:
    """A changed copy of a picture.

    Args:
        picture: what to change.
        change: maps images, uint8 (1, h, w, c), and their ids to others of that shape; c is 1 for grey, 3 for RGB.
        id: of the sample.

    Returns:
        uint8 (h, w, 3); three equal channels for a grey picture.
    """
    pixels = picture.rgb[..., :1] if picture.grey else picture.rgb
    return np.broadcast_to(change(pixels[None], [id])[0], picture.rgb.shape)
