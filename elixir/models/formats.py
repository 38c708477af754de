"""The formats of foreign networks: which one a name or path means, and how a network is built again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from elixir.errors import ElixirError
from elixir.models.foreign import Foreign
from elixir.models.of_timm import build_timm, open_timm
from elixir.models.of_torchscript import kept_script, open_torchscript
from elixir.models.of_transformers import build_transformers, open_transformers
from elixir.models.preprocessing import Preprocessing
from elixir.models.torchscript import load_script
from elixir.models.weights import PICKLES


def open_foreign(spec: str, device: torch.device, classes: int | None = None) -> Foreign:
    """A network of other people's, or an ElixirError that tells why it cannot be used.

    Args:
        spec: one of
            a TorchScript file, which gets images in [0,1];
            "timm:NAME", or a bare timm name, with its pretrained weights; "timm:NAME@FILE.safetensors" with those;
            a transformers image-classification model, as a folder or hub name.
        device: where a TorchScript file is tried; other networks are on the CPU.
        classes: that it must tell apart, where this is known before it is run; None for any number.
    """
    path, timm = Path(spec), spec.startswith("timm:")
    if path.is_file():
        return open_torchscript(path, device)
    if not (path.exists() or timm) and (path.is_absolute() or path.suffix in PICKLES):
        raise ElixirError(f"there is no model {spec!r}: give a TorchScript file, a timm name or a transformers folder")
    if path.is_dir() or ("/" in spec and not timm):
        return open_transformers(spec, classes)
    return open_timm(spec.removeprefix("timm:"), classes)


def rebuilt(record: Mapping[str, Any], folder: Path) -> Foreign:
    """The network of a `Foreign.record`, with weights that are to be replaced.

    Args:
        folder: where `keep_script` has put a TorchScript file.

    Raises: ElixirError: its library is not installed, or its TorchScript file is not there as it was.
    """
    format, architecture, script = record["format"], record["architecture"], None
    if format == "torchscript":
        script = kept_script(folder, architecture["sha256"])
        net = load_script(script, torch.device("cpu"))
    else:
        net = {"timm": build_timm, "transformers": build_transformers}[format](architecture)
    preprocessing, channels, side = Preprocessing(**record["preprocessing"]), record["channels"], record["side"]
    spec = f"the backbone of a classifier in {folder}"
    return Foreign(spec, net, channels, preprocessing, side, format, architecture, script=script)
