"""Where networks run."""

from __future__ import annotations

import torch

from elixir.errors import ElixirError


def choose_device(name: str) -> torch.device:
    """A torch device; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        ElixirError: unknown or absent device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ElixirError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return device


def wait_for(device: torch.device) -> None:
    """Return when everything that was asked of the device is done; needed before a clock is read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
