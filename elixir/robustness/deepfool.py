"""DeepFool (Moosavi-Dezfooli et al. 2016, algorithm 2) in its L-inf form.

The toolbox's version is not used: it knows the L2 form alone, whose few large changes a budget of L-inf cuts off, and
it computes the gradients of all labels that any image of a batch might need, for images that are done as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elixir.robustness.base import LogProbs, box, eight_bit

HALF_A_LEVEL = 0.5 / 255  # less than that, rounding would swallow


@dataclass(frozen=True)
class DeepFool:
    """The least L-inf step over the nearest boundary, again and again until it is crossed; see `base.Attack`.

    DeepFool knows no budget: what exceeds eps is cut off after every step. It looks at images rounded to 8 bits, since
    rounding would undo a perturbation that just reaches its aim.

    Attributes:
        steps: at most.
        labels: how many of the likeliest labels may lie behind the nearest boundary.
        overshoot: by which the perturbation is lengthened.
    """

    steps: int = 20
    labels: int = 10
    overshoot: float = 0.02

    def __call__(
        self, log_probs: LogProbs, x: Tensor, labels: Tensor, eps: float, generator: torch.Generator
    ) -> Tensor:
        """See `base.Attack`; what is misclassified at the beginning stays as it is."""
        low, high = box(x, eps)
        delta = torch.zeros_like(x)
        found = x.clone()
        active = torch.arange(len(x), device=x.device)
        for _ in range(self.steps):
            lengthened = x[active] + (1 + self.overshoot) * delta[active]
            now = eight_bit(lengthened.clamp(low[active], high[active])).requires_grad_()
            found[active] = now.detach()
            seen = log_probs(now)
            right = seen.argmax(1) == labels[active]
            if not right.any():
                break
            step = self._step(seen, now, labels[active])
            active = active[right]
            delta[active] += step[right]
            del seen, now  # the graph, before the next one is built
        return found

    def _step(self, seen: Tensor, now: Tensor, labels: Tensor) -> Tensor:
        """To the nearest of the boundaries, as if they were planes (eqs. 11 and 12 with p = inf, q = 1)."""
        values = seen.detach()
        likeliest = values.topk(min(self.labels, values.shape[1]), 1).indices
        (true,) = torch.autograd.grad(seen.gather(1, labels[:, None]).sum(), now, retain_graph=True)
        shortest = torch.full((len(now),), torch.inf, device=now.device)
        step = torch.zeros_like(now)
        for label in likeliest.T:
            (other,) = torch.autograd.grad(seen.gather(1, label[:, None]).sum(), now, retain_graph=True)
            normal = other - true
            gap = (values.gather(1, labels[:, None]) - values.gather(1, label[:, None])).squeeze(1).abs() + 1e-4
            distance = gap / normal.abs().sum((1, 2, 3)).clamp_min(1e-12)
            distance = torch.where(label == labels, torch.inf, distance)
            nearer = distance < shortest
            shortest = torch.where(nearer, distance, shortest)
            length = distance.clamp_min(HALF_A_LEVEL)
            step = torch.where(nearer.view(-1, 1, 1, 1), length.view(-1, 1, 1, 1) * normal.sign(), step)
        return step
