"""Reading of weight files: safetensors and nothing that could run code."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from elixir.errors import ElixirError

SHIPPED = Path(__file__).parent.parent / "weights"
PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib"}


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
