"""What an attack is: a function from images to adversarial images; and how one makes 8-bit images within a budget."""

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Generator, Tensor

from elixir.errors import ElixirError

EPS_SLACK = 1e-6  # of a grey level: 8/255 in binary is slightly less than eight levels

LogProbs = Callable[[Tensor], Tensor]
"""Maps images float32 (n, 3, h, w) in [0,1] to log-probabilities (n, k); differentiable, and possibly random."""

Attack = Callable[[LogProbs, Tensor, Tensor, float, Generator], Tensor]
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


def budget(text: str) -> float:
    """Read an eps such as "8/255" or ".03", in [0,1] pixel units; raises an ElixirError below 1/255 and above 1."""
    try:
        eps = float(Fraction(text))
    except (ValueError, ArithmeticError) as error:
        raise ElixirError(f"eps {text!r} is no number; write 8/255, or .03") from error
    if not 1 <= levels(eps) <= 255:
        raise ElixirError(f"eps must lie between 1/255 and 1, in [0,1] pixel units, not {text}")
    return eps


def levels(eps: float) -> int:
    """How many of 255 grey levels an 8-bit image may change within the budget."""
    return int(255 * eps + EPS_SLACK)


def craft(
    attack: Attack, log_probs: LogProbs, images: Tensor, labels: Tensor, eps: float, generator: Generator
) -> Tensor:
    """As `Attack`, for images uint8 (n, 3, h, w): the result is rounded to 8 bits, nowhere more than eps away."""
    near = levels(eps)
    found = attack(log_probs, images.float() / 255, labels, near / 255, generator)
    rounded, original = (255 * found).round().to(torch.int16), images.to(torch.int16)
    return rounded.clamp(original - near, original + near).clamp(0, 255).to(torch.uint8)
