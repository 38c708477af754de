"""Consistency models from diffusers: the UNet2DModel of a ConsistencyModelPipeline.

They live in [-1,1] units, where noise of deviation sigma on [0,1] images is t = 2 * sigma, and are variance-exploding:
the state is the noisy image itself.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from elixir.errors import ElixirError
from elixir.models.hub import model_folder
from elixir.purifiers.unet import UNetPurifier, load_unet, read_entry, scheduler_folder

SCHEDULER = "CMStochasticIterativeScheduler"
SIGMA_DATA = 0.5
SIGMA_MIN = 0.002


class ConsistencyPipeline(UNetPurifier):
    """A UNet2DModel trained as a consistency model, asked at t = 2 * sigma exactly rather than at a time of its grid.

    Args:
        unet: see `UNetPurifier`.
        factor: see `UNetPurifier`.
        device: where to run it.
        sigma_data: deviation of the data in [-1,1] units.
        sigma_min: noise level, in the same units, at which the model gives its input back.
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
        return c_skip * y + c_out * self.predict(c_in * y, 250 * math.log(t))


def load_pipeline(model: str, device: torch.device) -> ConsistencyPipeline:
    """Load a consistency model saved by diffusers.

    A model that wants to know the class gets the mean of its class embeddings, because the class is what nobody knows.

    Args:
        model: a folder or a hub name such as openai/diffusers-cd_imagenet64_l2, with the files in unet/ and scheduler/
            or all at the top; without a scheduler, its settings are those of the paper.
        device: where to run it.

    Raises:
        ElixirError: not found, pickled weights only, or not a three-channel consistency model.
    """
    folder = model_folder(model)
    unet, factor = load_unet(folder, model)
    if unet.config["class_embed_type"]:
        raise ElixirError(f"{model!r} is told more than a class, which is not supported")
    if unet.class_embedding is not None:
        with torch.no_grad():
            unet.time_embedding.linear_2.bias += unet.class_embedding.weight.mean(0)  # the sum is all that is used
        unet.class_embedding = None
    schedule = scheduler_folder(folder) / "scheduler_config.json"
    if not schedule.exists():
        return ConsistencyPipeline(unet, factor, device)
    if read_entry(schedule, "_class_name") != SCHEDULER:
        raise ElixirError(f"{model!r} is no consistency model: for a DDPM use the purifier 'diffusers'")
    sigma_data, sigma_min = (read_entry(schedule, key) for key in ("sigma_data", "sigma_min"))
    return ConsistencyPipeline(unet, factor, device, sigma_data or SIGMA_DATA, sigma_min or SIGMA_MIN)
