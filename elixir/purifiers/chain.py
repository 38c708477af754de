"""Many-step denoising with a one-step denoiser: the ancestral sampler of DDPM in variance-exploding form.

In [0,1] units an image at noise level sigma is clean + sigma * noise. A DDPM state x_t in [-1,1] units is the same
thing times sqrt(abar_t), with 2 * sigma = sqrt((1 - abar_t) / abar_t) (Ho et al. 2020, eq. 4), so any
`Purifier.denoise` can be run through the schedule of any DDPM.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from elixir.models.schedules import kept_variance

Denoise = Callable[[Tensor, float], Tensor]
NoiseAt = Callable[[int], Tensor]


def ddpm_sigmas(steps: int = 150, of: int = 1000) -> list[float]:
    """Noise levels of the last `steps` timesteps of a linear DDPM schedule of `of` steps, in [0,1] units.

    Returns:
        steps + 1 values, falling from the level of timestep steps - 1 to that of timestep 0, then 0.
    """
    kept = kept_variance(of)[:steps]
    return [*(((1 - kept) / kept).sqrt() / 2).flip(0).tolist(), 0.0]


def reverse_chain(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise_at: NoiseAt) -> Iterator[Tensor]:
    """Go from noise level sigmas[0] to sigmas[-1] step by step, each by sampling from the posterior of DDPM.

    One step is x0 + (s'/s)^2 (x - x0) + s' sqrt(1 - (s'/s)^2) noise (Ho et al. 2020, eqs. 6 and 7, rescaled), with the
    estimate x0 clamped to [0,1] as DDPM does. Costs one call of `denoise` for each step.

    Args:
        denoise: maps states (n, c, h, w) at a noise level to estimates of the clean images, as `Purifier.denoise`.
        x: states at noise level sigmas[0], not clipped.
        sigmas: falling, in [0,1] units; only the last may be 0.
        noise_at: the standard normal noise, shaped as `x`, that step 1, 2, ... adds; not asked for a step to 0.

    Yields:
        The state after each step, not clipped, len(sigmas) - 1 in all.
    """
    for step, (high, low) in enumerate(pairwise(sigmas), start=1):
        x0 = denoise(x, high).clamp(0, 1)
        ratio = (low / high) ** 2
        x = x0 + ratio * (x - x0)
        if low > 0:
            x = x + low * math.sqrt(1 - ratio) * noise_at(step)
        yield x


def ddpm_reverse(
    denoise: Denoise, x: Tensor, noise_at: NoiseAt, sigmas: Sequence[float] | None = None, keep: int = 10
) -> list[Tensor]:
    """Noise images and denoise them in many steps: one round of DataElixir (arXiv 2312.11057, section 4.1).

    Costs len(sigmas) - 1 calls of `denoise`.

    Args:
        denoise: see `reverse_chain`.
        x: float32 (n, c, h, w) in [0,1].
        noise_at: noise_at(0) noises the images, noise_at(1), noise_at(2), ... belong to the steps of the way back.
        sigmas: see `reverse_chain`; `ddpm_sigmas()` by default.
        keep: how many of the last states to return.

    Returns:
        The last states as DDPM states put into [0,1], oldest first; the last one is the denoised image.
    """
    sigmas = ddpm_sigmas() if sigmas is None else sigmas
    last: deque[tuple[Tensor, float]] = deque(maxlen=keep)
    chain = reverse_chain(denoise, x + sigmas[0] * noise_at(0), sigmas, noise_at)
    last.extend(zip(chain, sigmas[1:], strict=True))
    return [_as_ddpm_image(state, sigma) for state, sigma in last]


def _as_ddpm_image(state: Tensor, sigma: float) -> Tensor:
    """The state times sqrt(abar) in [-1,1] units, brought to [0,1] and clamped."""
    return ((state - 0.5) / math.hypot(1, 2 * sigma) + 0.5).clamp(0, 1)
