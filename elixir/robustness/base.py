"""What an attack is: a function from images to adversarial images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LogProbs = Callable[[Tensor], Tensor]
"""Maps images float32 (n, 3, h, w) in [0,1] to log-probabilities (n, k); differentiable, and possibly random."""

Attack = Callable[[LogProbs, Tensor, Tensor, float, torch.Generator], Tensor]
"""Called with log-probabilities, images x (n, 3, h, w) in [0,1], true labels int64 (n,), the budget eps in [0,1] pixel
units and a random generator, all on one device. Returns images with |result - x| <= eps, up to rounding, and in [0,1];
x is left as it is."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps log-probabilities (n, k) and labels (n,) to what is to become large (n,)."""


def loss_gradient(log_probs: LogProbs, x: Tensor, labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities (n, k), losses (n,) and the gradient of the losses, of the shape of `x`."""
    x = x.detach().requires_grad_()
    seen = log_probs(x)
    losses = loss(seen, labels)
    (gradient,) = torch.autograd.grad(losses.sum(), x)
    return seen.detach(), losses.detach(), gradient


def margin(log_probs: Tensor, labels: Tensor) -> Tensor:
    """How much the best of the wrong labels is ahead of the true one, (n,): greater than 0 where it wins."""
    true = log_probs.gather(1, labels[:, None])
    wrong = log_probs.scatter(1, labels[:, None], -torch.inf).amax(1, keepdim=True)
    return (wrong - true).squeeze(1)


def eight_bit(x: Tensor) -> Tensor:
    """Images rounded to 8 bits, (n, 3, h, w) in [0,1]; the gradient passes unchanged."""
    return x + ((255 * x.detach()).round() / 255 - x.detach())


def box(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The least and the greatest image within the budget."""
    return (x - eps).clamp_min(0), (x + eps).clamp_max(1)
