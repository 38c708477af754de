"""Priors from diffusers: a DDPM's UNet2DModel and its noise schedule, used as a one-step denoiser.

A DDPM state is x_t = sqrt(abar_t) y + sqrt(1 - abar_t) noise with y in [-1,1]. Noise of deviation sigma on [0,1] images
is 2 * sigma on y; dividing x_t by sqrt(abar_t) shows that it is the noise of the time t where
sqrt((1 - abar_t) / abar_t) = 2 * sigma.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elixir.errors import ElixirError
from elixir.models.hub import model_folder
from elixir.models.precision import fast_dtype
from elixir.purifiers.base import Purifier
from elixir.purifiers.batching import batch_size, in_fixed_batches
from elixir.registry import register


class DiffusersPrior:
    """An unconditional UNet2DModel with the schedule that it was trained on: one network call a draw.

    Images of another size than the UNet was trained on are not resized: it is convolutional, so they are only padded
    to the next multiple of its down-sampling factor, by reflection.

    Args:
        unet: maps a state (n, 3, h, w) and times (n,) to a prediction, as a UNet2DModel.
        factor: height and width must be multiples of it.
        alphas_cumprod: float (T,), share of signal variance at each timestep, falling.
        prediction: what the UNet predicts: "epsilon", "v_prediction" or "sample".
        device: where to run it.
    """

    calls_per_draw = 1

    def __init__(
        self, unet: nn.Module, factor: int, alphas_cumprod: Tensor, prediction: str, device: torch.device
    ) -> None:
        self._device = device
        self._dtype = fast_dtype(device)
        self._unet = unet.eval().requires_grad_(False).to(device, self._dtype)
        self._factor = factor
        self._prediction = prediction
        kept = alphas_cumprod.double().cpu().numpy()
        self._log_noise = np.log(np.sqrt((1 - kept) / kept))

    def time(self, sigma: float) -> float:
        """The timestep at which the DDPM has noise `sigma` ([0,1] units), between integers by log noise."""
        return float(np.interp(math.log(2 * sigma), self._log_noise, np.arange(len(self._log_noise))))

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

    @torch.inference_mode()
    def _call(self, noisy: Tensor, sigma: float) -> Tensor:
        signal = 1 / math.hypot(1, 2 * sigma)
        y = 2 * noisy - 1
        time = torch.full((len(y),), self.time(sigma), device=self._device)
        out = self._unet((signal * y).to(self._dtype), time, return_dict=False)[0]
        out = out[:, :3].float()  # a UNet with learned variance has three more channels
        if self._prediction == "epsilon":
            out = y - 2 * sigma * out
        elif self._prediction == "v_prediction":
            out = signal**2 * y - 2 * sigma * signal * out
        return (out + 1) / 2


@register("purifiers", "diffusers")
def load(model: str | None, device: torch.device) -> Purifier:
    """Load a DDPM saved by diffusers.

    Args:
        model: a folder or a hub name, with the files in unet/ and scheduler/ or all at the top.
        device: where to run it.

    Raises:
        ElixirError: not found, pickled weights only, or not an unconditional three-channel DDPM.
    """
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    if model is None:
        raise ElixirError(
            "the purifier 'diffusers' needs a model: a folder, or a hub name such as google/ddpm-cifar10-32"
        )
    folder = model_folder(model)
    unet_folder = folder / "unet" if (folder / "unet").is_dir() else folder
    scheduler_folder = folder / "scheduler" if (folder / "scheduler").is_dir() else folder
    if _config(unet_folder / "config.json", "_class_name") != "UNet2DModel":
        raise ElixirError(f"{model!r} is not a UNet2DModel of diffusers")
    if not _config(scheduler_folder / "scheduler_config.json", "beta_schedule"):
        raise ElixirError(f"the noise schedule of {model!r} is not a DDPM's: it has no beta_schedule")
    try:
        unet: Any = UNet2DModel.from_pretrained(
            unet_folder, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
        scheduler: Any = DDPMScheduler.from_pretrained(scheduler_folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise ElixirError(f"{model!r} cannot be loaded: {error}") from error
    config = unet.config
    if config["in_channels"] != 3 or config["num_class_embeds"] or config["class_embed_type"]:
        raise ElixirError(f"{model!r} must be unconditional and have three channels")
    factor = 2 ** (len(config["block_out_channels"]) - 1)
    return DiffusersPrior(unet, factor, scheduler.alphas_cumprod, scheduler.config["prediction_type"], device)


def _config(path: Path, key: str) -> object:
    """One entry of a JSON file, None if absent."""
    try:
        return json.loads(path.read_text()).get(key)
    except (OSError, ValueError) as error:
        raise ElixirError(f"{str(path)!r} is missing or damaged: a model saved by diffusers has it") from error


def _pad(x: Tensor, factor: int) -> Tensor:
    """Pad right and bottom to multiples of `factor`, by reflection where the image is large enough for it."""
    for axis in (-1, -2):
        missing = -x.shape[axis] % factor
        if missing:
            mode = "reflect" if missing < x.shape[axis] else "replicate"
            x = F.pad(x, (0, missing, 0, 0) if axis == -1 else (0, 0, 0, missing), mode=mode)
    return x
