"""Networks in TorchScript files."""

import shutil
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from elixir.data.io import replacing
from elixir.errors import ElixirError
from elixir.models.foreign import Foreign, channels_of
from elixir.models.preprocessing import Preprocessing
from elixir.models.torchscript import load_script
from elixir.models.weights import sha256_of

PROBE_SIDES = (16, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 384, 512)
"""Sides in pixels at which a script is tried, to learn which sizes it takes."""


def open_torchscript(path: Path, device: torch.device) -> Foreign:
    """A script that gets images in [0,1], of every size that it takes; an ElixirError if it takes none."""
    script = load_script(path, device)
    channels = channels_of(script, str(path))
    fits = [side for side in PROBE_SIDES if _runs(script, torch.zeros(2, channels, side, side, device=device))]
    if not fits:
        tried = ", ".join(map(str, PROBE_SIDES))
        raise ElixirError(f"{str(path)!r} takes no batch of images with {channels} channels and {tried} pixels a side")
    size = (fits[0], fits[0]) if len(fits) == 1 else None
    preprocessing, architecture = Preprocessing(size=size, smallest=fits[0]), {"sha256": sha256_of(path)}
    return Foreign(str(path), script, channels, preprocessing, fits[0], "torchscript", architecture, script=path)


def keep_script(script: Path, folder: Path) -> None:
    """Copy a script into a folder, where `kept_script` finds it."""
    kept = folder / _name(str(sha256_of(script)))
    if not kept.exists():
        with replacing(kept, kept.with_name(kept.name + ".partial")) as partial:
            shutil.copyfile(script, partial)


def kept_script(folder: Path, sha256: str) -> Path:
    """The script with this SHA-256 in a folder; an ElixirError if it is not there, or is another by now."""
    path = folder / _name(sha256)
    if not path.exists():
        raise ElixirError(f"{str(path)!r} is missing, the TorchScript file that a classifier beside it starts from")
    if sha256_of(path) != sha256:
        raise ElixirError(f"{str(path)!r} has been changed, so that the classifier beside it cannot be read any more")
    return path


def scripts_in(folder: Path) -> list[Path]:
    """All scripts that `keep_script` has copied into a folder."""
    return sorted(folder.glob(_name("?" * 64)))


def _name(sha256: str) -> str:
    return f"{sha256}.pt"


def _runs(net: nn.Module, probe: Tensor) -> bool:
    with suppress(RuntimeError), torch.inference_mode():
        net(probe)
        return True
    return False
