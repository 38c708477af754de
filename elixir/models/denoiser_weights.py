"""Weights of denoisers in files: fp16 safetensors that say what kind they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from elixir.errors import ElixirError
from elixir.models.denoiser import DenoiserNet
from elixir.models.weights import read_weights, write_weights

PRIOR = "elixir.prior"
CONSISTENCY = "elixir.consistency"
EPSILON = 0.001
"""Noise level, in [0,1] pixel units, at which consistency models give their input back."""


def save_denoiser(net: nn.Module, out: Path, kind: str, settings: Mapping[str, object]) -> None:
    """Write fp16 weights through a temporary name.

    Args:
        net: whose weights.
        out: the safetensors file.
        kind: "elixir.prior", "elixir.consistency" or "elixir.impure", the key under which the metadata holds the
            settings.
        settings: plain values.
    """
    tensors = {name: tensor.half().cpu().contiguous() for name, tensor in net.state_dict().items()}
    write_weights(out, tensors, {kind: json.dumps(dict(settings))})


def load_denoiser(path: Path, *kinds: str, epsilon: float = 0) -> DenoiserNet:
    """Read a `DenoiserNet` written by `save_denoiser`, of any widths.

    Args:
        path: of the safetensors file.
        kinds: it must hold one of them.
        epsilon: see `DenoiserNet`.

    Raises:
        ElixirError: the file is missing, damaged, a pickle, or holds something else.
    """
    tensors, metadata = read_weights(path)
    if not any(kind in metadata for kind in kinds):
        name = kinds[0].removeprefix("elixir.")
        raise ElixirError(f"{str(path)!r} holds no {name} of elixir's: give a file written by `elixir train-{name}`")
    try:
        net = DenoiserNet(*_architecture(tensors), epsilon=epsilon)
        net.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        raise ElixirError(f"{str(path)!r} does not fit this version's denoiser: train it again") from error
    return net


def _architecture(tensors: dict[str, Tensor]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths and blocks of the network that the tensors belong to."""

    def blocks(stage: str) -> int:
        return sum(name.startswith(stage) and name.endswith("first.bias") for name in tensors)

    scales = 1 + len({name.split(".")[1] for name in tensors if name.startswith("down.")})
    counts = tuple(blocks(f"down.{scale}.") for scale in range(scales - 1))
    widths = tuple(len(tensors[f"down.{scale}.{count}.bias"]) for scale, count in enumerate(counts))
    return (len(tensors["head.bias"]), *widths), (*counts, blocks("bottom."))
