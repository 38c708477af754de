"""Priors from diffusers: a DDPM's UNet2DModel and its noise schedule, used as a one-step denoiser.

A DDPM state is x_t = sqrt(abar_t) y + sqrt(1 - abar_t) noise with y in [-1,1]. Noise of deviation sigma on [0,1] images
is 2 * sigma on y; dividing x_t by sqrt(abar_t) shows that it is the noise of the time t where
sqrt((1 - abar_t) / abar_t) = 2 * sigma.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elixir.errors import ElixirError
from elixir.models.hub import model_folder
from elixir.purifiers.base import Purifier
from elixir.purifiers.consistency_pipeline import SCHEDULER
from elixir.purifiers.unet import UNetPurifier, load_unet, read_entry, scheduler_folder


class DiffusersPrior(UNetPurifier):
    """An unconditional UNet2DModel with the schedule that it was trained on.

    Args:
        unet: see `UNetPurifier`.
        factor: see `UNetPurifier`.
        alphas_cumprod: float (T,), share of signal variance at each timestep, falling.
        prediction: what the UNet predicts: "epsilon", "v_prediction" or "sample".
        device: where to run it.
    """

    def __init__(
        self, unet: nn.Module, factor: int, alphas_cumprod: Tensor, prediction: str, device: torch.device
    ) -> None:
        super().__init__(unet, factor, device)
        self._prediction = prediction
        kept = alphas_cumprod.double().cpu().numpy()
        self._log_noise = np.log(np.sqrt((1 - kept) / kept))

    def time(self, sigma: float) -> float:
        """The timestep at which the DDPM has noise `sigma` ([0,1] units), between integers by log noise."""
        return float(np.interp(math.log(2 * sigma), self._log_noise, np.arange(len(self._log_noise))))

    def estimate(self, y: Tensor, t: float) -> Tensor:
        """See `UNetPurifier.estimate`."""
        signal = 1 / math.hypot(1, t)
        out = self.predict(signal * y, self.time(t / 2))
        if self._prediction == "epsilon":
            return y - t * out
        if self._prediction == "v_prediction":
            return signal**2 * y - t * signal * out
        return out


def load(model: str | None, device: torch.device) -> Purifier:
    """Load a DDPM saved by diffusers.

    Args:
        model: a folder or a hub name, with the files in unet/ and scheduler/ or all at the top.
        device: where to run it.

    Raises:
        ElixirError: not found, pickled weights only, or not an unconditional three-channel DDPM.
    """
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    if model is None:
        raise ElixirError(
            "the purifier 'diffusers' needs a model: a folder, or a hub name such as google/ddpm-cifar10-32"
        )
    folder = model_folder(model)
    schedule = scheduler_folder(folder) / "scheduler_config.json"
    unet, factor = load_unet(folder, model)
    if read_entry(schedule, "_class_name") == SCHEDULER:
        raise ElixirError(f"{model!r} is a consistency model: use the purifier 'consistency' for it")
    if not read_entry(schedule, "beta_schedule"):
        raise ElixirError(f"the noise schedule of {model!r} is not a DDPM's: it has no beta_schedule")
    if unet.config["num_class_embeds"] or unet.config["class_embed_type"]:
        raise ElixirError(f"{model!r} must be unconditional")
    try:
        scheduler: Any = DDPMScheduler.from_pretrained(schedule.parent, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ElixirError(f"{model!r} cannot be loaded: {error}") from error
    return DiffusersPrior(unet, factor, scheduler.alphas_cumprod, scheduler.config["prediction_type"], device)
