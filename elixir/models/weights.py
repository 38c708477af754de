"""Weight files: safetensors, because nothing in them can run code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from elixir.data.io import replacing
from elixir.errors import ElixirError

Net = TypeVar("Net", bound=nn.Module)

SHIPPED = Path(__file__).parent.parent / "weights"
PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib"}


def sha256_of(model: str | Path | None) -> str | None:
    """SHA-256 of a file, a folder, FILE in "timm:NAME@FILE" or all shipped weights (None); None of any other model."""
    path = SHIPPED if model is None else Path(model)
    if not path.exists():
        path = Path(str(model).partition("@")[2] or path)
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if not path.is_dir():
        return None
    files = sorted(file for file in path.rglob("*") if file.suffix in (".safetensors", ".json"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file through a temporary name; the same tensors give the same bytes.

    Args:
        path: of the file.
        tensors: contiguous, on the CPU.
        metadata: at most one entry where bytes matter: their order in the file is random.

    Raises:
        ElixirError: the disk is full or read-only.
    """
    with replacing(path, path.with_name(path.name + ".partial")) as partial:
        partial.write_bytes(save(dict(tensors), None if metadata is None else dict(metadata)))


def check_output(path: Path) -> None:
    """Make sure, before a long training, that its result can be written.

    Raises:
        ElixirError: the path is no new or old file in a folder that exists, or its name does not end as it should.
    """
    if path.suffix != ".safetensors":
        raise ElixirError(f"{str(path)!r} must end with .safetensors, or no command will know what it is")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ElixirError(f"{str(path)!r} cannot be written: it is a folder, or the folder for it is missing")


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        ElixirError: missing, unreadable, truncated, or another format, in particular a pickle.
    """
    if not path.is_file():
        raise ElixirError(f"there is no weight file {str(path)!r}")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        if path.suffix.lower() in PICKLES:
            raise ElixirError(
                f"{str(path)!r} looks like a pickle, which can run code when opened: convert it to safetensors"
            ) from error
        raise ElixirError(f"{str(path)!r} is not a readable safetensors file (truncated?): {error}") from error


def save_network(
    net: nn.Module, path: Path, kind: str, record: Mapping[str, object], dtype: torch.dtype = torch.float32
) -> None:
    """Write the weights of a network, through a temporary name.

    Args:
        net: on any device.
        path: of the safetensors file.
        kind: "elixir.prior", "elixir.consistency", "elixir.impure" or "elixir.classifier", the key of the metadata.
        record: plain values, kept there as JSON.
        dtype: in which floating-point weights are stored.
    """
    tensors = {name: t.to(dtype) if t.is_floating_point() else t for name, t in net.state_dict().items()}
    tensors = {name: t.cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    write_weights(path, tensors, {kind: json.dumps(dict(record))})


def load_network(path: Path, kinds: tuple[str, ...], build: Callable[[dict[str, Tensor], dict[str, Any]], Net]) -> Net:
    """Read a network written by `save_network`.

    Args:
        path: of the safetensors file.
        kinds: it must hold one of them.
        build: makes a network for the tensors and the record of the file, and may change the tensors.

    Returns:
        The network, with these weights.

    Raises:
        ElixirError: the file is missing, damaged, a pickle, or holds something else.
    """
    tensors, metadata = read_weights(path)
    name = kinds[0].removeprefix("elixir.")
    kind = next((kind for kind in kinds if kind in metadata), None)
    if kind is None:
        raise ElixirError(f"{str(path)!r} holds no {name} of elixir's: give a file written by `elixir train {name}`")
    try:
        net = build(tensors, json.loads(metadata[kind]))
        net.load_state_dict(tensors)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ElixirError(f"{str(path)!r} does not fit this version's {name}: train it again") from error
    return net
