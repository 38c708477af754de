"""State of a training between interruptions: networks and optimizer in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from elixir.errors import ElixirError
from elixir.models.weights import read_weights, write_weights


def save_checkpoint(
    path: Path, nets: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, counters: dict[str, int]
) -> None:
    """Write the state through a temporary name.

    Args:
        path: of the checkpoint.
        nets: networks by name.
        optimizer: its state.
        counters: what else to remember, e.g. the number of steps done.
    """
    tensors = {f"{name}.{key}": t for name, net in nets.items() for key, t in net.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": t for key, t in state.items()}
    tensors = {name: t.cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_weights(path, tensors, {name: str(value) for name, value in counters.items()})


def load_checkpoint(
    path: Path, nets: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, fingerprint: int
) -> dict[str, int]:
    """Put the state back; returns the counters.

    Args:
        path: of the checkpoint.
        nets: as they were saved.
        optimizer: likewise.
        fingerprint: the counter of that name, which tells one training from another.

    Raises:
        ElixirError: the file is damaged, or of another training.
    """
    tensors, metadata = read_weights(path)
    counters = {name: int(value) for name, value in metadata.items() if value.isdecimal()}
    if counters.get("fingerprint") != fingerprint:
        raise ElixirError(
            f"{path} is of a training with other settings, data or start; remove it, or choose another output"
        )
    for name, net in nets.items():
        net.load_state_dict(_below(tensors, f"{name}."))
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below(tensors, "optimizer.").items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    for parameter, values in optimizer.state.items():  # fused kernels take it for granted that strides agree
        for key, t in values.items():
            if t.shape == parameter.shape:
                values[key] = torch.empty_like(parameter).copy_(t)
    return counters


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
