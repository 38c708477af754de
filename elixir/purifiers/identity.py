"""No purifier: what randomized smoothing is without one."""

from __future__ import annotations

import torch
from torch import Tensor

from elixir.errors import ElixirError
from elixir.purifiers.base import Purifier


class Identity:
    """Leaves the noise in; no network call."""

    nfe = 0
    without_noise = True

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        """See `Purifier.purify`; the noisy images, clipped."""
        return (x + sigma * noise).clamp_(0, 1)

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        """See `Purifier.denoise`; the noisy images as they are."""
        return noisy.clone()


def load(model: str | None, device: torch.device) -> Purifier:  # noqa: ARG001 - all have it
    """The identity.

    Args:
        model: None.
        device: any; the images stay where they are.

    Raises:
        ElixirError: there is a model.
    """
    if model is not None:
        raise ElixirError(f"the purifier 'none' has no weights; leave out {model!r}")
    return Identity()
