"""Adversarial perturbations, and what is left of them behind a purifier; here: the nine attacks by name."""

from elixir.errors import ElixirError, nearest
from elixir.robustness.apgd import AutoPGD, cross_entropy, difference_of_logits_ratio
from elixir.robustness.attacks import Attack
from elixir.robustness.gradient_sign import GradientSign
from elixir.robustness.minimal_norm import CarliniWagner, DeepFool

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
    """Read "all", or names with commas between them; raises an ElixirError for unknown or repeated ones."""
    chosen = tuple(ATTACKS) if text == "all" else tuple(name.strip() for name in text.split(","))
    for name in chosen:
        if name not in ATTACKS:
            hint = nearest(name, ATTACKS, f"known: all, {', '.join(ATTACKS)}")
            raise ElixirError(f"there is no attack on classifiers called {name!r}; {hint}")
    if len(set(chosen)) < len(chosen):
        raise ElixirError("an attack is named twice")
    return chosen
