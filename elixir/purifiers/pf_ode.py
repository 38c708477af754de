"""Many-step purification without chance: the probability-flow ODE of any denoiser, solved by Euler's method.

Along dx/dsigma = (x - D(x, sigma)) / sigma a noisy image of level sigma moves to one of level 0 with the distribution
of clean images (Song et al. 2021, section 4.3; in this form Karras et al. 2022, eq. 1 with eq. 3 and sigma(t) = t).
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from elixir.models.schedules import karras_grid
from elixir.purifiers import diffusion, prior
from elixir.purifiers.base import Purifier

STEPS = 8
LOWEST = 0.03  # in [0,1] units: the embedded prior has seen no less noise


def karras_sigmas(sigma: float, steps: int, lowest: float = LOWEST) -> list[float]:
    """Noise levels from `sigma` down to `lowest`, and then 0 (Karras et al. 2022, eq. 5, rho = 7).

    Args:
        sigma: where it starts, in [0,1] pixel units.
        steps: number of steps, at least 1.
        lowest: the last level above 0; half of `sigma` where that is less.

    Returns:
        steps + 1 falling values.
    """
    if steps == 1:
        return [sigma, 0.0]
    return [*karras_grid(sigma, min(lowest, sigma / 2), steps), 0.0]


class ProbabilityFlow:
    """The deterministic sampler: `steps` Euler steps, one network call for each.

    Heun's method would need 2 * steps - 1 calls; at a given number of calls Euler takes about twice as many steps.

    Args:
        denoiser: gives E[clean | noisy] in `denoiser.nfe` network calls.
        steps: of the solver; the last one, to 0, is the denoiser's estimate itself.
    """

    def __init__(self, denoiser: Purifier, steps: int = STEPS) -> None:
        self._denoiser = denoiser
        self._steps = steps
        self.nfe = steps * denoiser.nfe

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        """See `Purifier.purify`."""
        return self.denoise(x + sigma * noise, sigma).clamp_(0, 1)

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        """See `Purifier.denoise`; the end of the flow, one likely clean image rather than the mean of all."""
        x = noisy
        for high, low in pairwise(karras_sigmas(sigma, self._steps)):
            clean = self._denoiser.denoise(x, high)
            x = clean + low / high * (x - clean)
        return x


def load(model: str | None, device: torch.device) -> Purifier:
    """The flow of the embedded prior, or of a diffusers DDPM.

    Args:
        model: a file written by `elixir train-prior`, None for the shipped one; a folder or hub name for a DDPM.
        device: where to run it.

    Raises:
        ElixirError: as `prior.load` and `diffusion.load`.
    """
    embedded = model is None or Path(model).suffix == ".safetensors"
    return ProbabilityFlow((prior if embedded else diffusion).load(model, device))
