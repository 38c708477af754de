"""The attack of Carlini and Wagner (2017), inside the budget.

The toolbox's versions are not used: its L-inf form takes one image at a time through thousands of steps, its L2 form
ten line searches an image, and neither knows a budget.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elixir.robustness.base import LogProbs, box, eight_bit, margin

EDGE = 0.99  # nearer to 1 the tanh is so flat that black and white pixels would not move


@dataclass(frozen=True)
class CarliniWagner:
    """Adam minimises |delta|^2 + weight * max(0, -margin), the objective of the L2 attack; see `base.Attack`.

    The authors' change of variable, a tanh, leads to the box of the budget rather than that of all images: so nothing
    has to be projected, and instead of a search for the smallest weight one that is large is enough. The margin is that
    of the image rounded to 8 bits, since rounding would undo a perturbation that just reaches its aim.

    Attributes:
        steps: of Adam.
        rate: its learning rate, in units of the tanh's argument.
        weight: of the margin, with images in [0,1].
    """

    steps: int = 50
    rate: float = 0.1
    weight: float = 10.0

    def __call__(
        self, log_probs: LogProbs, x: Tensor, labels: Tensor, eps: float, generator: torch.Generator
    ) -> Tensor:
        """See `base.Attack`; the nearest image that was misclassified, or else the last one."""
        low, high = box(x, eps)
        middle, half = (low + high) / 2, (high - low) / 2
        w = torch.atanh(((x - middle) / half.clamp_min(1e-12)).clamp(-EDGE, EDGE)).requires_grad_()
        optimizer = torch.optim.Adam([w], self.rate)
        best, nearest = x, torch.full((len(x),), torch.inf, device=x.device)
        now = x
        for _ in range(self.steps + 1):
            now = middle + half * w.tanh()
            ahead = margin(log_probs(eight_bit(now)), labels)
            distance = (now - x).square().sum((1, 2, 3))
            better = (ahead > 0) & (distance < nearest)
            best = torch.where(better.view(-1, 1, 1, 1), now, best).detach()
            nearest = torch.where(better, distance, nearest).detach()
            (w.grad,) = torch.autograd.grad((distance + self.weight * (-ahead).clamp_min(0)).sum(), w)
            optimizer.step()
        return torch.where(nearest.isfinite().view(-1, 1, 1, 1), best, now).detach()
