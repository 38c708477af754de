"""Attacks that look for the smallest perturbation: Carlini and Wagner (2017), and DeepFool, both inside the budget."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from elixir.robustness.attacks import LogProbs, box, eight_bit, margin

MAX_TANH = 0.99  # nearer to 1 the tanh is so flat that black and white pixels would not move
HALF_A_LEVEL = 0.5 / 255  # rounding to 8 bits would undo a smaller step
LOGIT_SLACK = 1e-4  # added to the distance of two logits, so that a step crosses the boundary


@dataclass(frozen=True)
class CarliniWagner:
    """Adam minimises |delta|^2 + weight * max(0, -margin), the objective of the L2 attack; see `attacks.Attack`.

    The authors' change of variable, a tanh, leads to the box of the budget rather than that of all images: nothing has
    to be projected, and one large weight takes the place of a search for the smallest. The margin is that of the image
    rounded to 8 bits, since rounding would undo a perturbation that just reaches its aim. The toolbox's L-inf form
    takes one image at a time through thousands of steps, its L2 form ten line searches an image, and neither knows a
    budget.

    Attributes:
        rate: learning rate, in units of the tanh's argument.
        weight: of the margin, with images in [0,1].
    """

    steps: int = 50
    rate: float = 0.1
    weight: float = 10.0

    def __call__(self, log_probs: LogProbs, x: Tensor, labels: Tensor, eps: float, generator: Generator) -> Tensor:
        """See `attacks.Attack`; the nearest image that was misclassified, or else the last one."""
        low, high = box(x, eps)
        middle, half = (low + high) / 2, (high - low) / 2
        w = torch.atanh(((x - middle) / half.clamp_min(1e-12)).clamp(-MAX_TANH, MAX_TANH)).requires_grad_()
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


@dataclass(frozen=True)
class DeepFool:
    """DeepFool (Moosavi-Dezfooli et al. 2016, algorithm 2) in its L-inf form; see `attacks.Attack`.

    The least step over the nearest boundary, again and again until it is crossed; behind it may lie one of the
    likeliest `labels`. The perturbation is lengthened by `overshoot`. DeepFool knows no budget: what exceeds eps is cut
    off after every step. It looks at images rounded to 8 bits, as `CarliniWagner` does. The toolbox knows the L2 form
    alone, whose few large changes a budget of L-inf cuts off.
    """

    steps: int = 20
    labels: int = 10
    overshoot: float = 0.02

    def __call__(self, log_probs: LogProbs, x: Tensor, labels: Tensor, eps: float, generator: Generator) -> Tensor:
        """See `attacks.Attack`; what is misclassified at the beginning stays as it is."""
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
            gap = (values.gather(1, labels[:, None]) - values.gather(1, label[:, None])).squeeze(1).abs() + LOGIT_SLACK
            distance = gap / normal.abs().sum((1, 2, 3)).clamp_min(1e-12)
            distance = torch.where(label == labels, torch.inf, distance)
            nearer = distance < shortest
            shortest = torch.where(nearer, distance, shortest)
            length = distance.clamp_min(HALF_A_LEVEL)
            step = torch.where(nearer.view(-1, 1, 1, 1), length.view(-1, 1, 1, 1) * normal.sign(), step)
        return step
