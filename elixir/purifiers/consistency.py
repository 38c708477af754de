"""The consistency model: one call leads to a sharp image rather than to the mean of all that are possible."""

from __future__ import annotations

from pathlib import Path

import torch

from elixir.models import weights
from elixir.models.denoiser import CONSISTENCY, EPSILON, load_denoiser
from elixir.purifiers.base import Purifier
from elixir.purifiers.consistency_pipeline import load_pipeline
from elixir.purifiers.network import NetworkPurifier

SHIPPED = weights.SHIPPED / "consistency.safetensors"


def load(model: str | None, device: torch.device) -> Purifier:
    """Load the consistency model.

    Args:
        model: a file written by `elixir train-consistency`, None for the shipped one; or a folder or hub name of a
            ConsistencyModelPipeline or UNet of diffusers.
        device: where to run it.

    Raises:
        ElixirError: not found, damaged, a pickle, or something else.
    """
    path = SHIPPED if model is None else Path(model)
    if model is None or path.is_file() or path.suffix == ".safetensors":
        return NetworkPurifier(load_denoiser(path, CONSISTENCY, epsilon=EPSILON), device)
    return load_pipeline(str(model), device)
