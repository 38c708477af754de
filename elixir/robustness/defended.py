"""A classifier behind a purifier: what it predicts, and the gradient that an attacker of the whole computes."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from elixir.models.classifier import Classifier, predict
from elixir.purifiers.base import Purifier
from elixir.randomness import noise

MIN_GRADIENT = 1e-30


class Defended:
    """Classifies purify(x), or x itself where the purifier is None; all networks are on `device`.

    `sigma` is the noise level in [0,1] pixel units of a purifier that needs one. An attacker averages over `draws`
    where the purifier is random.
    """

    def __init__(
        self, classifier: Classifier, purifier: Purifier | None, sigma: float, draws: int, device: torch.device
    ) -> None:
        self._classifier = classifier.requires_grad_(False)
        self._purifier = purifier
        self._sigma = sigma = 0.0 if getattr(purifier, "without_noise", False) else sigma
        self._device = device
        random = purifier is not None and is_random(purifier, sigma, torch.full((1, 3, 32, 32), 0.5, device=device))
        self._draws = draws if random else 1

    @torch.no_grad()
    def purify(self, x: Tensor, seed: int, ids: Sequence[str]) -> Tensor:
        """What the classifier is given for images float32 (n, 3, h, w) in [0,1]; the noise is seeded by (seed, id)."""
        if self._purifier is None:
            return x
        drawn = noise(seed, ids, "purify", tuple(x.shape[1:])).to(self._device)
        return self._purifier.purify(x, self._sigma, drawn)

    def predict(self, purified: Tensor) -> Tensor:
        """Labels int64 (n,) for what `purify` has returned."""
        return predict(self._classifier, purified, self._device)

    def log_probs(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Log-probabilities float32 (n, k), differentiable in `x`, float32 (n, 3, h, w) in [0,1].

        Where the purifier is random: the mean over draws, so that the gradient of the cross-entropy is the mean of the
        draws' gradients (expectation over transformation, Athalye et al. 2018, section 4.2). The noise is new in every
        call. All tensors, and the generator of the attacker's noise, are on the device.
        """
        if self._purifier is None:
            return self._classifier(x)[0].log_softmax(1)
        copies = x.repeat(self._draws, 1, 1, 1)
        drawn = torch.randn(copies.shape, generator=generator, device=self._device)
        purified = differentiable(partial(self._purifier.purify, sigma=self._sigma, noise=drawn), copies)
        return self._classifier(purified)[0].log_softmax(1).unflatten(0, (self._draws, len(x))).mean(0)


@torch.no_grad()
def is_random(purifier: Purifier, sigma: float, x: Tensor) -> bool:
    """Whether the noise makes a difference to what becomes of images."""
    one, other = (purifier.purify(x, sigma, torch.full_like(x, value)) for value in (0.0, 1.0))
    return not torch.equal(one, other)


def differentiable(purify: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a purifier, which maps each image (3, h, w) by itself, so that a gradient comes back through it.

    Where the purifier has none, the gradient passes it unchanged (BPDA, Athalye et al. 2018, section 4.1). Inside the
    purifier every image's gradient is scaled to a maximum of 1, since 16-bit networks would lose a small one: that is
    undone behind it, and backpropagation is linear, so the result is the gradient.
    """
    if not x.requires_grad:
        return purify(x)
    scale = torch.ones(())

    def shrink(gradient: Tensor) -> Tensor:
        nonlocal scale
        scale = gradient.abs().amax((1, 2, 3), keepdim=True).clamp_min(MIN_GRADIENT)
        return gradient / scale

    inside = x.clone()
    inside.register_hook(lambda gradient: gradient * scale)
    purified = purify(inside)
    if not purified.requires_grad:
        return x + (purified - x).detach()
    purified.register_hook(shrink)
    return purified
