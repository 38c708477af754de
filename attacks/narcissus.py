"""Narcissus: one noise that points into the target class (Zeng et al., CCS 2023, arXiv:2204.05255)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from elixir.attacks.base import Ids, Images, Levels
from elixir.attacks.trained import TrainedAttack, TrainingData, coloured_as, shifted
from elixir.errors import ElixirError
from elixir.models.classifier import SmallResNet
from elixir.randomness import generator
from elixir.settings import Count, Positive

LEARNING_RATE = 0.005  # of Adam, in shares of 255
BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Narcissus(TrainedAttack):
    """Adds one noise to images of the target class: that which makes a classifier of its own surest of this class.

    argmin over |noise| <= eps of the mean cross-entropy of f(image + noise) for the target, over images of the target
    class, moved a little. Test images show `gain` times the noise. The paper's classifier f learns from other, public
    data and is tuned on the target class; this one learns from the dataset that is going to be poisoned.

    The noise is an adversarial perturbation too: classifiers that have learned from clean data take part of the test
    images for the target (`elixir evaluate --pipeline unpoisoned`), and only what is beyond is a backdoor.

    Rates of the literature: 1 % of the set and less.

    Args:
        eps: largest change of a pixel by the noise in training images, in levels of 255.
        iterations: steps of Adam on the noise, each with some images of the target class.
        gain: how many times the noise is shown at test.
    """

    name: ClassVar[str] = "narcissus"
    clean_label: ClassVar[bool] = True
    needs_target: ClassVar[bool] = True

    eps: Levels = 16
    iterations: Count = 500
    gain: Positive = 3

    def learn(self, data: TrainingData) -> dict[str, Tensor]:
        return {"noise": self.noise(self.classifier(data).fused(), data)}

    def poisoned(self, images: Images, ids: Ids) -> Images:
        return self.noisy(images, ids, 1)

    def triggered(self, images: Images, ids: Ids) -> Images:
        return self.noisy(images, ids, self.gain)

    def noisy(self, images: Images, ids: Ids, gain: float) -> Images:
        """The images plus `gain` times the noise."""
        noise, most = gain * self.learned()["noise"][None], gain * self.eps
        return np.clip(self.added(images.copy(), ids, lambda *_: noise), images - most, images + most)

    def noise(self, net: SmallResNet, data: TrainingData) -> Tensor:
        """What to add to images in [0,1] to lower a classifier's loss for the target, within `eps`; (3, size, size)."""
        rng, own, eps = generator(self.seed, "noise"), np.flatnonzero(data.labels == data.target), self.eps / 255
        if not len(own):
            raise ElixirError(f"{self.name} needs images of the target class, and there are none")
        noise = torch.zeros(3, self.size, self.size, requires_grad=True)
        optimizer = torch.optim.Adam([noise], LEARNING_RATE)
        target = torch.full((BATCH,), data.target)
        with data.progress.task("noise", self.iterations) as advance:
            for _ in range(self.iterations):
                images = data.read(rng.choice(own, BATCH)).float() / 255
                added = coloured_as(images, noise.expand_as(images))
                loss = F.cross_entropy(net(shifted((images + added).clamp(0, 1), rng))[0], target)
                (noise.grad,) = torch.autograd.grad(loss, noise)
                optimizer.step()
                noise.data.clamp_(-eps, eps)
                advance(1)
        return noise.detach()
