"""The embedded prior: a one-step denoiser that ships with the package and works on images of any size."""

from __future__ import annotations

from pathlib import Path

import torch

from elixir.models import weights
from elixir.models.denoiser import PRIOR, load_denoiser
from elixir.purifiers.base import Purifier
from elixir.purifiers.network import NetworkPurifier

SHIPPED = weights.SHIPPED / "prior.safetensors"


def load(model: str | None, device: torch.device) -> Purifier:
    """Load the prior.

    Args:
        model: a file written by `elixir train-prior`, None for the shipped one.
        device: where to run it.

    Raises:
        ElixirError: the file is missing, damaged, a pickle, or holds something else.
    """
    return NetworkPurifier(load_denoiser(SHIPPED if model is None else Path(model), PRIOR), device)
