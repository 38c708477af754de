"""Models from the Hugging Face hub or a folder of the same layout: safetensors and JSON only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elixir.errors import ElixirError


@contextmanager
def silenced(logging: Any) -> Iterator[None]:
    """Keep progress bars and warnings of transformers or diffusers, whose `utils.logging` this is, off the screen."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def model_folder(model: str) -> Path:
    """The folder that holds the model; a hub name is downloaded (or found in the cache), its pickles are not.

    Args:
        model: path of a folder, or a hub name "owner/name".

    Raises:
        ElixirError: no such folder or hub model, hub not reachable, or no safetensors file among its weights.
    """
    folder = Path(model)
    if not folder.is_dir():
        folder = _download(model)
    if not any(folder.rglob("*.safetensors")):
        raise ElixirError(
            f"{model!r} has no safetensors file: pickled weights can run code and are not opened; convert them where "
            "you trust them, with save_pretrained(folder, safe_serialization=True), and give that folder"
        )
    return folder


def _download(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(model, allow_patterns=["*.json", "*.safetensors"]))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ElixirError(
            f"{model!r} is neither a folder nor a model that can be had from the hub ({type(error).__name__}): "
            "check the name and the network, or download it and give the folder"
        ) from error
