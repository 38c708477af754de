"""Auto-PGD (Croce, Hein 2020, algorithm 1): projected gradient ascent that finds its step size by itself."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from elixir.robustness.attacks import LogProbs, Loss, box, loss_gradient, margin

MOMENTUM = 0.75
MIN_IMPROVED = 0.75  # share of the steps, below which the step size is halved
FIRST_CHECKPOINT = 0.22
CHECKPOINT_SHRINKS = 0.03
MIN_CHECKPOINT = 0.06
"""Section 3.2: distances between checkpoints as shares of all steps; each is shorter than the one before."""
MISCLASSIFIED = 1e3  # more than any loss


def cross_entropy(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each image, (n,)."""
    return F.nll_loss(log_probs, labels, reduction="none")


def difference_of_logits_ratio(log_probs: Tensor, labels: Tensor) -> Tensor:
    """DLR loss (Croce, Hein 2020, eq. 6): the margin in units of the distance of first and third logit, (n,).

    With two classes the margin itself, whose ratio would be constant. Log-probabilities are logits as good as any here:
    a constant does not matter.
    """
    if log_probs.shape[1] < 3:
        return margin(log_probs, labels)
    ranked = log_probs.sort(1, descending=True).values
    return margin(log_probs, labels) / (ranked[:, 0] - ranked[:, 2]).clamp_min(1e-12)


@dataclass(frozen=True)
class AutoPGD:
    """Makes the loss large from one start, at random, with one pass forth and back a step; see `attacks.Attack`.

    The toolbox's version returns the last iterate instead of the best one, computes three passes a step, and looks at
    the images of a batch one by one to compute the DLR loss.
    """

    loss: Loss
    steps: int = 50

    def __call__(self, log_probs: LogProbs, x: Tensor, labels: Tensor, eps: float, generator: Generator) -> Tensor:
        """See `attacks.Attack`; the image of the largest loss among those that are misclassified, or among all.

        A step counts as a rise if it beats the best so far; in the paper, if it beats the one before.
        """
        low, high = box(x, eps)
        start = x + eps * (2 * torch.rand(x.shape, generator=generator, device=x.device) - 1)
        now = before = best = start.clamp(low, high)
        size = torch.full((len(x), 1, 1, 1), 2 * eps, device=x.device)
        _, top, best_gradient = loss_gradient(log_probs, now, labels, self.loss)
        gradient, best_score = best_gradient, torch.full_like(top, -torch.inf)
        found, risen = best, torch.zeros_like(top)
        size_then, top_then = size, top
        checkpoints = _checkpoints(self.steps)
        for step in range(1, self.steps + 1):
            ascent = (now + size * gradient.sign()).clamp(low, high)
            momentum = MOMENTUM if step > 1 else 1.0
            moved = (now + momentum * (ascent - now) + (1 - momentum) * (now - before)).clamp(low, high)
            before, now = now, moved
            seen, losses, gradient = loss_gradient(log_probs, now, labels, self.loss)
            score = torch.where(margin(seen, labels) > 0, losses, losses - MISCLASSIFIED)
            found, best_score = _where(score > best_score, (now, score), (found, best_score))
            higher = losses > top
            risen = risen + higher
            best, best_gradient, top = _where(higher, (now, gradient, losses), (best, best_gradient, top))
            if step in checkpoints:
                stuck = (risen < MIN_IMPROVED * checkpoints[step]) | ((size_then == size).flatten() & (top_then == top))
                size_then, top_then, risen = size, top, torch.zeros_like(top)
                (size,) = _where(stuck, (size / 2,), (size,))
                now, before, gradient = _where(stuck, (best, best, best_gradient), (now, before, gradient))
        return found


def _checkpoints(steps: int) -> dict[int, int]:
    """Steps at which the step size is looked at, with the steps since the one before (section 3.2)."""
    shares = [0.0, FIRST_CHECKPOINT]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - CHECKPOINT_SHRINKS, MIN_CHECKPOINT))
    checkpoints = [math.ceil(round(share * steps, 6)) for share in shares if share <= 1]
    return {step: step - last for last, step in pairwise(checkpoints)}


def _where(rows: Tensor, yes: tuple[Tensor, ...], no: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """By row: `rows` is bool (n,), the others (n, ...)."""
    return tuple(
        torch.where(rows.view(-1, *[1] * (one.ndim - 1)), one, other) for one, other in zip(yes, no, strict=True)
    )
