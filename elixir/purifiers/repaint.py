"""Fills a part of an image from its surroundings, with any purifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from elixir.purifiers.base import Purifier


def repaint(
    purifier: Purifier,
    images: Tensor,
    mask: Tensor,
    noise: Callable[[float], Tensor],
    sigmas: Sequence[float],
) -> Tensor:
    """Purify again and again at falling noise, each time with the known pixels put back around the unknown ones.

    This is inpainting by replacement (Song et al. 2021, "Score-based generative modeling", appendix I.2). It starts
    from the mean colour of the known pixels and costs a draw for each noise level.

    Args:
        purifier: paints.
        images: float32 (n, 3, h, w) in [0,1].
        mask: bool (n, 1, h, w), true where the pixels are to be replaced; not everywhere.
        noise: maps a sigma in [0,1] pixel units to standard normal noise of the images' shape.
        sigmas: falling noise levels, in [0,1] pixel units.

    Returns:
        float32 (n, 3, h, w) in [0,1], equal to `images` outside of the mask.
    """
    known = (~mask).float()
    mean = (images * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True)
    painted = torch.where(mask, mean, images)
    for sigma in sigmas:
        painted = torch.where(mask, purifier.purify(painted, sigma, noise(sigma)), images)
    return painted
