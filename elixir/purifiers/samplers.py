"""Many-step use of a one-step denoiser: DDPM's ancestral sampler, the probability-flow ODE, and repainting.

In [0,1] units an image at noise level sigma is clean + sigma * noise. A DDPM state x_t in [-1,1] units is the same
thing times sqrt(abar_t), with 2 * sigma = sqrt((1 - abar_t) / abar_t) (Ho et al. 2020, eq. 4), so any
`Purifier.denoise` can be run through the schedule of any DDPM.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from elixir.models.schedules import DDPM_TIMES, karras_grid, kept_variance
from elixir.purifiers.base import Denoiser, Purifier
from elixir.purifiers.diffusers import load_ddpm
from elixir.purifiers.network import load_prior

Denoise = Callable[[Tensor, float], Tensor]
NoiseAt = Callable[[int], Tensor]

DDPM_STEPS, KEPT_STATES = 150, 10
"""Of one round of DataElixir (arXiv 2312.11057, section 4.1): last times of DDPM's schedule, last states returned."""
FLOW_STEPS, FLOW_LOWEST = 8, 0.03
"""Of the probability flow: Euler steps; last noise level above 0, the least that the embedded prior has seen."""


def ddpm_sigmas(steps: int = DDPM_STEPS, of: int = DDPM_TIMES) -> list[float]:
    """Falling noise levels of the last `steps` times of a linear DDPM schedule of `of`, in [0,1] units, and then 0."""
    kept = kept_variance(of)[:steps]
    return [*(((1 - kept) / kept).sqrt() / 2).flip(0).tolist(), 0.0]


def reverse_chain(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise_at: NoiseAt) -> Iterator[Tensor]:
    """Go from noise level sigmas[0] to sigmas[-1] step by step, and yield each state, not clipped.

    A state is sampled from the posterior of DDPM, x0 + (s'/s)^2 (x - x0) + s' sqrt(1 - (s'/s)^2) noise (Ho et al. 2020,
    eqs. 6, 7, rescaled), with the estimate x0 clamped to [0,1] as DDPM does. Costs one call of `denoise` for each step.

    Args:
        denoise: maps states (n, c, h, w) at a noise level to estimates of the clean images, as `Purifier.denoise`.
        x: states at noise level sigmas[0], not clipped.
        sigmas: falling, in [0,1] units; only the last may be 0.
        noise_at: the standard normal noise, shaped as `x`, that step 1, 2, ... adds; not asked for a step to 0.
    """
    for step, (high, low) in enumerate(pairwise(sigmas), start=1):
        x0 = denoise(x, high).clamp(0, 1)
        ratio = (low / high) ** 2
        x = x0 + ratio * (x - x0)
        if low > 0:
            x = x + low * math.sqrt(1 - ratio) * noise_at(step)
        yield x


def ddpm_reverse(
    denoise: Denoise, x: Tensor, noise_at: NoiseAt, sigmas: Sequence[float] | None = None, keep: int = KEPT_STATES
) -> list[Tensor]:
    """Noise images and denoise them in many steps: one round of DataElixir (arXiv 2312.11057, section 4.1).

    `noise_at(0)` noises the images x, float32 (n, c, h, w) in [0,1]; 1, 2, ... are the steps of the way back. Returns
    the last `keep` states as DDPM states put into [0,1], the denoised image at the end. Costs len(sigmas) - 1 calls of
    `denoise`; for it and `sigmas`, by default `ddpm_sigmas()`, see `reverse_chain`.
    """
    sigmas = ddpm_sigmas() if sigmas is None else sigmas
    chain = reverse_chain(denoise, x + sigmas[0] * noise_at(0), sigmas, noise_at)
    last = deque(zip(chain, sigmas[1:], strict=True), maxlen=keep)
    return [((state - 0.5) / math.hypot(1, 2 * sigma) + 0.5).clamp(0, 1) for state, sigma in last]


def karras_sigmas(sigma: float, steps: int, lowest: float = FLOW_LOWEST) -> list[float]:
    """steps + 1 noise levels from `sigma` down to `lowest` (or half of `sigma` where that is less), and then 0."""
    if steps == 1:
        return [sigma, 0.0]
    return [*karras_grid(sigma, min(lowest, sigma / 2), steps), 0.0]


class ProbabilityFlow(Denoiser):
    """The probability-flow ODE dx/dsigma = (x - D(x, sigma)) / sigma of a denoiser D, in Euler steps.

    It moves a noisy image of level sigma to one of level 0 with the distribution of clean images (Song et al. 2021,
    section 4.3; in this form Karras et al. 2022, eq. 1 with eq. 3 and sigma(t) = t). Heun's method would need
    2 * steps - 1 calls; at a given number of calls Euler takes about twice as many steps. The last step, to 0, is the
    denoiser's estimate itself.
    """

    def __init__(self, denoiser: Purifier, steps: int = FLOW_STEPS) -> None:
        self._denoiser = denoiser
        self._steps = steps
        self.nfe = steps * denoiser.nfe
        self.net = getattr(denoiser, "net", None)

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        """The end of the flow, one likely clean image rather than the mean of all."""
        x = noisy
        for high, low in pairwise(karras_sigmas(sigma, self._steps)):
            clean = self._denoiser.denoise(x, high)
            x = clean + low / high * (x - clean)
        return x


def load_pf_ode(model: str | None, device: torch.device) -> Purifier:
    """The probability flow of the embedded prior or of a .safetensors file; of a DDPM in any other case."""
    embedded = model is None or Path(model).suffix == ".safetensors"
    return ProbabilityFlow((load_prior if embedded else load_ddpm)(model, device))


def repaint(
    purifier: Purifier, images: Tensor, mask: Tensor, noise: Callable[[float], Tensor], sigmas: Sequence[float]
) -> Tensor:
    """Fill a part of each image from its surroundings: inpainting by replacement (Song et al. 2021, appendix I.2).

    It starts from the mean colour of the known pixels and purifies at each of the falling noise levels, each time with
    the known pixels put back: float32 (n, 3, h, w) in [0,1] to the same. `mask`, bool (n, 1, h, w), is true where
    pixels are to be replaced, not everywhere; `noise` maps a sigma in [0,1] pixel units to standard normal noise of
    that shape.
    """
    known = (~mask).float()
    mean = (images * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True)
    painted = torch.where(mask, mean, images)
    for sigma in sigmas:
        painted = torch.where(mask, purifier.purify(painted, sigma, noise(sigma)), images)
    return painted
