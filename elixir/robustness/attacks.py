"""The nine attacks by name, and what is handed to a purifier: adversarial images of 8 bits."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from elixir.errors import ElixirError, nearest
from elixir.robustness.apgd import AutoPGD, cross_entropy, difference_of_logits_ratio
from elixir.robustness.base import Attack, LogProbs
from elixir.robustness.carlini_wagner import CarliniWagner
from elixir.robustness.deepfool import DeepFool
from elixir.robustness.gradient_sign import GradientSign

ATTACKS: dict[str, Attack] = {
    "fgsm": GradientSign(steps=1, step=1.0),
    "pgd": GradientSign(random_start=True),
    "mi-fgsm": GradientSign(decay=1.0),
    "di-fgsm": GradientSign(diversity=True),
    "m-di-fgsm": GradientSign(decay=1.0, diversity=True),
    "apgd-ce": AutoPGD(cross_entropy),
    "apgd-dlr": AutoPGD(difference_of_logits_ratio),
    "cw": CarliniWagner(),
    "deepfool": DeepFool(),
}
"""The attacks of arXiv 2311.15339, section 4, all untargeted and with an L-inf budget."""


def attack_names(text: str) -> tuple[str, ...]:
    """Read "all", or names with commas between them.

    Raises:
        ElixirError: there is no such attack, or one is named twice.
    """
    chosen = tuple(ATTACKS) if text == "all" else tuple(name.strip() for name in text.split(","))
    for name in chosen:
        if name not in ATTACKS:
            hint = nearest(name, ATTACKS, f"known: all, {', '.join(ATTACKS)}")
            raise ElixirError(f"there is no attack on classifiers called {name!r}; {hint}")
    if len(set(chosen)) < len(chosen):
        raise ElixirError("an attack is named twice")
    return chosen


def budget(text: str) -> float:
    """Read an eps such as "8/255" or ".03", in [0,1] pixel units.

    Raises:
        ElixirError: not a number, or less than one of 255 levels, or more than 1.
    """
    try:
        eps = float(Fraction(text))
    except (ValueError, ArithmeticError) as error:
        raise ElixirError(f"eps {text!r} is no number; write 8/255, or .03") from error
    if not 1 <= levels(eps) <= 255:
        raise ElixirError(f"eps must lie between 1/255 and 1, in [0,1] pixel units, not {text}")
    return eps


def levels(eps: float) -> int:
    """How many of 255 grey levels an 8-bit image may change within the budget."""
    return int(255 * eps + 1e-6)


def craft(
    attack: Attack, log_probs: LogProbs, images: Tensor, labels: Tensor, eps: float, generator: torch.Generator
) -> Tensor:
    """Attack 8-bit images, and round the result to 8 bits within the budget.

    Args:
        attack: one of `ATTACKS`.
        log_probs: of the classifier; see `base.LogProbs`.
        images: uint8 (n, 3, h, w), on the device.
        labels: true ones, int64 (n,), likewise.
        eps: greatest change of a pixel's value, in [0,1] units.
        generator: of the attack's draws, likewise.

    Returns:
        uint8 (n, 3, h, w), nowhere more than eps away from `images`.
    """
    near = levels(eps)
    found = attack(log_probs, images.float() / 255, labels, near / 255, generator)
    rounded = (255 * found).round().to(torch.int16)
    original = images.to(torch.int16)
    within = torch.minimum(torch.maximum(rounded, original - near), original + near)
    return within.clamp(0, 255).to(torch.uint8)
