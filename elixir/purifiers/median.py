"""The median filter, a classical purifier (among the feature squeezers of Xu et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from elixir.errors import ElixirError
from elixir.purifiers.base import Purifier


class Median:
    """Every value becomes the median of its 3x3 neighbourhood in its channel, the border repeated; no network call."""

    nfe = 0
    without_noise = True

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        """See `Purifier.purify`; without noise, at any `sigma`."""
        return self.denoise(x, sigma)

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        """See `Purifier.denoise`."""
        padded = F.pad(noisy, (1, 1, 1, 1), mode="replicate")
        return padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4).median(4).values


def load(model: str | None, device: torch.device) -> Purifier:  # noqa: ARG001 - all have it
    """The 3x3 median filter.

    Args:
        model: None.
        device: any; the images stay where they are.

    Raises:
        ElixirError: there is a model.
    """
    if model is not None:
        raise ElixirError(f"the purifier 'median' has no weights; leave out {model!r}")
    return Median()
