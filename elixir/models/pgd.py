"""Adversarial examples to train on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from elixir.models.base import Classifier


def pgd(model: Classifier, x: Tensor, eps: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """Projected gradient descent from a random start, away from what the model itself sees in the images.

    Madry et al. 2018 (section 2.1), with steps of 2 * eps / `steps`.

    Args:
        model: in evaluation mode, with parameters that need no gradient.
        x: float32 (n, 3, h, w) in [0,1].
        eps: largest change of a pixel, float32 (n, 1, 1, 1) in [0,1] pixel units; 0 leaves an image as it is.
        steps: gradients.
        generator: of the start, on the device of `x`.

    Returns:
        Images in [0,1], within `eps` of `x`.
    """
    with torch.no_grad():
        labels = model(x)[0].argmax(1)
    start = 2 * torch.rand(x.shape, generator=generator, device=x.device) - 1
    low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
    adversarial = torch.minimum(torch.maximum(x + eps * start, low), high)
    for _ in range(steps):
        adversarial.requires_grad_()
        with torch.enable_grad():
            loss = F.cross_entropy(model(adversarial)[0], labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, adversarial)
        moved = adversarial.detach() + 2 * eps / steps * gradient.sign()
        adversarial = torch.minimum(torch.maximum(moved, low), high)
    return adversarial
