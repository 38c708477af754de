"""UNets from diffusers as one-step denoisers, in [-1,1] units: noise sigma on [0,1] images is t = 2 * sigma."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elixir.errors import ElixirError, explaining
from elixir.models.device import fast_dtype
from elixir.models.weights import model_folder, silenced
from elixir.purifiers.base import Denoiser, Purifier, batch_size, in_fixed_batches

CONSISTENCY_SCHEDULER = "CMStochasticIterativeScheduler"
SIGMA_DATA, SIGMA_MIN = 0.5, 0.002  # of consistency models, in [-1,1] units (Song et al. 2023, appendix C)
TIME_SCALE = 250
"""Consistency models are told 250 * log(t): EDM's log(t) / 4 (Karras et al. 2022, table 1) in thousandths."""


class UNetPurifier(Denoiser):
    """A UNet2DModel as a one-step denoiser in [-1,1] units.

    Images of another size than the UNet was trained on are not resized: it is convolutional, so they are only padded
    to the next multiple of its down-sampling factor, by reflection.
    """

    nfe = 1

    def __init__(self, unet: nn.Module, factor: int, device: torch.device) -> None:
        self._device = device
        self._dtype = fast_dtype(device)
        self.net = unet.eval().requires_grad_(False).to(device, self._dtype)
        self._factor = factor

    def estimate(self, y: Tensor, t: float) -> Tensor:
        """Estimate clean images in [-1,1], not clipped, from float32 (n, 3, h, w) with noise of deviation `t`."""
        raise NotImplementedError

    def predict(self, x: Tensor, time: float) -> Tensor:
        """Output of the UNet for states (n, 3, h, w) at a time, float32 (n, 3, h, w)."""
        times = torch.full((len(x),), time, device=self._device)
        out = self.net(x.to(self._dtype), times, return_dict=False)[0]
        return out[:, :3].float()  # a UNet with learned variance has three more channels

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        height, width = noisy.shape[-2:]
        padded = _pad(noisy, self._factor)
        size = batch_size(height, width, self._device)
        y = in_fixed_batches(lambda part: self.estimate(2 * part.to(self._device) - 1, 2 * sigma), padded, size)
        return ((y[..., :height, :width] + 1) / 2).contiguous()


class DiffusersPrior(UNetPurifier):
    """An unconditional DDPM with the schedule that it was trained on.

    A DDPM state is x_t = sqrt(abar_t) y + sqrt(1 - abar_t) noise with y in [-1,1]. Divided by sqrt(abar_t) it is y with
    noise of deviation sqrt((1 - abar_t) / abar_t), which is 2 * sigma at the time that belongs to sigma. abar, float
    (T,), falls from one timestep to the next; the UNet predicts "epsilon", "v_prediction" or "sample".
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
        signal = 1 / math.hypot(1, t)
        out = self.predict(signal * y, self.time(t / 2))
        if self._prediction == "epsilon":
            return y - t * out
        if self._prediction == "v_prediction":
            return signal**2 * y - t * signal * out
        return out


class ConsistencyPipeline(UNetPurifier):
    """A UNet2DModel trained as a consistency model, asked at t = 2 * sigma exactly rather than at a time of its grid.

    In [-1,1] units `sigma_data` is the deviation of the data, and `sigma_min` the noise at which the model gives its
    input back.
    """

    def __init__(
        self,
        unet: nn.Module,
        factor: int,
        device: torch.device,
        sigma_data: float = SIGMA_DATA,
        sigma_min: float = SIGMA_MIN,
    ) -> None:
        super().__init__(unet, factor, device)
        self._sigma_data = sigma_data
        self._sigma_min = sigma_min

    def estimate(self, y: Tensor, t: float) -> Tensor:
        """See `UNetPurifier.estimate`; the equations are those of Song et al. 2023, appendix C."""
        s, above = self._sigma_data, t - self._sigma_min
        c_in = 1 / math.hypot(t, s)
        c_skip = s**2 / (above**2 + s**2)
        c_out = above * s * c_in
        return c_skip * y + c_out * self.predict(c_in * y, TIME_SCALE * math.log(t))


def load_ddpm(model: str | None, device: torch.device) -> Purifier:
    """An unconditional three-channel DDPM saved by diffusers, in unet/ and scheduler/ or all at the top of a folder."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    if model is None:
        raise ElixirError("the purifier 'diffusers' needs a model: a folder, or a hub name (google/ddpm-cifar10-32)")
    folder = model_folder(model)
    schedule = _scheduler_config(folder)
    unet, factor = _load_unet(folder, model)
    if _read_entry(schedule, "_class_name") == CONSISTENCY_SCHEDULER:
        raise ElixirError(f"{model!r} is a consistency model: use the purifier 'consistency' for it")
    if not _read_entry(schedule, "beta_schedule"):
        raise ElixirError(f"the noise schedule of {model!r} is not a DDPM's: it has no beta_schedule")
    if unet.config["num_class_embeds"] or unet.config["class_embed_type"]:
        raise ElixirError(f"{model!r} must be unconditional")
    with explaining((OSError, ValueError), f"{model!r} cannot be loaded"):
        scheduler: Any = DDPMScheduler.from_pretrained(schedule.parent, local_files_only=True)
    return DiffusersPrior(unet, factor, scheduler.alphas_cumprod, scheduler.config["prediction_type"], device)


def load_consistency_pipeline(model: str, device: torch.device) -> ConsistencyPipeline:
    """A three-channel consistency model saved by diffusers, such as openai/diffusers-cd_imagenet64_l2.

    A class-conditional model gets the mean of its class embeddings, because the class is unknown. A folder without a
    scheduler gets the settings of the paper.
    """
    folder = model_folder(model)
    unet, factor = _load_unet(folder, model)
    if unet.config["class_embed_type"]:
        raise ElixirError(f"{model!r} is told more than a class, which is not supported")
    if unet.class_embedding is not None:
        with torch.no_grad():
            unet.time_embedding.linear_2.bias += unet.class_embedding.weight.mean(0)  # the sum is all that is used
        unet.class_embedding = None
    schedule = _scheduler_config(folder)
    if not schedule.exists():
        return ConsistencyPipeline(unet, factor, device)
    if _read_entry(schedule, "_class_name") != CONSISTENCY_SCHEDULER:
        raise ElixirError(f"{model!r} is no consistency model: for a DDPM use the purifier 'diffusers'")
    sigma_data, sigma_min = (_read_entry(schedule, key) for key in ("sigma_data", "sigma_min"))
    return ConsistencyPipeline(unet, factor, device, sigma_data or SIGMA_DATA, sigma_min or SIGMA_MIN)


def _load_unet(folder: Path, model: str) -> tuple[Any, int]:
    """The three-channel UNet2DModel of a pipeline or UNet folder, and the factor that height and width must have."""
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.utils import logging

    folder = folder / "unet" if (folder / "unet").is_dir() else folder
    if _read_entry(folder / "config.json", "_class_name") != "UNet2DModel":
        raise ElixirError(f"{model!r} is not a UNet2DModel of diffusers")
    with explaining(Exception, f"{model!r} cannot be loaded"), silenced(logging):  # a damaged folder raises anything
        unet: Any = UNet2DModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
    if unet.config["in_channels"] != 3:
        raise ElixirError(f"{model!r} must have three channels")
    return unet, 2 ** (len(unet.config["block_out_channels"]) - 1)


def _scheduler_config(folder: Path) -> Path:
    """Where the configuration of the scheduler of a pipeline or UNet in `folder` is, if there is one."""
    return (folder / "scheduler" if (folder / "scheduler").is_dir() else folder) / "scheduler_config.json"


def _read_entry(path: Path, key: str) -> Any:
    """One entry of a JSON file, None if absent; raises ElixirError if the file is missing or damaged."""
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
