"""What all purifiers made of a diffusers UNet2DModel share: loading, padding, number format, batches of one size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elixir.errors import ElixirError
from elixir.models.device import fast_dtype
from elixir.models.hub import silenced
from elixir.purifiers.batching import batch_size, in_fixed_batches


class UNetPurifier:
    """A UNet2DModel as a one-step denoiser in [-1,1] units: one network call a draw.

    Images of another size than the UNet was trained on are not resized: it is convolutional, so they are only padded
    to the next multiple of its down-sampling factor, by reflection.

    Args:
        unet: maps a state (n, 3, h, w) and times (n,) to a prediction, as a UNet2DModel.
        factor: height and width must be multiples of it.
        device: where to run it.
    """

    nfe = 1

    def __init__(self, unet: nn.Module, factor: int, device: torch.device) -> None:
        self._device = device
        self._dtype = fast_dtype(device)
        self._unet = unet.eval().requires_grad_(False).to(device, self._dtype)
        self._factor = factor

    def estimate(self, y: Tensor, t: float) -> Tensor:
        """Estimate clean images.

        Args:
            y: float32 (n, 3, h, w) on the device: images in [-1,1] plus noise of deviation `t`.
            t: twice the sigma in [0,1] units.

        Returns:
            Images in [-1,1], not clipped.
        """
        raise NotImplementedError

    def predict(self, x: Tensor, time: float) -> Tensor:
        """What the UNet says of states (n, 3, h, w) at a time, float32 (n, 3, h, w)."""
        times = torch.full((len(x),), time, device=self._device)
        out = self._unet(x.to(self._dtype), times, return_dict=False)[0]
        return out[:, :3].float()  # a UNet with learned variance has three more channels

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        """See `Purifier.purify`."""
        return self.denoise(x + sigma * noise, sigma).clamp_(0, 1)

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        """See `Purifier.denoise`."""
        height, width = noisy.shape[-2:]
        padded = _pad(noisy, self._factor)
        size = batch_size(height, width, self._device)
        x0 = in_fixed_batches(lambda part: self._call(part.to(self._device), sigma), padded, size)
        return x0[..., :height, :width].contiguous()

    def _call(self, noisy: Tensor, sigma: float) -> Tensor:
        return (self.estimate(2 * noisy - 1, 2 * sigma) + 1) / 2


def load_unet(folder: Path, model: str) -> tuple[Any, int]:
    """Load a three-channel UNet2DModel.

    Args:
        folder: of a pipeline (the UNet is in unet/) or of the UNet itself.
        model: its name, for people.

    Returns:
        The UNet and the factor of which height and width must be multiples.

    Raises:
        ElixirError: not a UNet2DModel, damaged, or it does not have three channels.
    """
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.utils import logging

    folder = folder / "unet" if (folder / "unet").is_dir() else folder
    if read_entry(folder / "config.json", "_class_name") != "UNet2DModel":
        raise ElixirError(f"{model!r} is not a UNet2DModel of diffusers")
    try:
        with silenced(logging):
            unet: Any = UNet2DModel.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
            )
    except Exception as error:  # what a damaged folder raises is anything
        raise ElixirError(f"{model!r} cannot be loaded: {error}") from error
    if unet.config["in_channels"] != 3:
        raise ElixirError(f"{model!r} must have three channels")
    return unet, 2 ** (len(unet.config["block_out_channels"]) - 1)


def scheduler_folder(folder: Path) -> Path:
    """Where the scheduler of a pipeline or of a UNet in `folder` is, if there is one."""
    return folder / "scheduler" if (folder / "scheduler").is_dir() else folder


def read_entry(path: Path, key: str) -> Any:
    """One entry of a JSON file, None if absent.

    Raises:
        ElixirError: there is no such file, or it is damaged.
    """
    try:
        return json.loads(path.read_text()).get(key)
    except (OSError, ValueError, AttributeError) as error:
        raise ElixirError(f"{str(path)!r} is missing or damaged: a model saved by diffusers has it") from error


def _pad(x: Tensor, factor: int) -> Tensor:
    """Pad right and bottom to multiples of `factor`, by reflection where the image is large enough for it."""
    for axis in (-1, -2):
        missing = -x.shape[axis] % factor
        if missing:
            mode = "reflect" if missing < x.shape[axis] else "replicate"
            x = F.pad(x, (0, missing, 0, 0) if axis == -1 else (0, 0, 0, missing), mode=mode)
    return x
