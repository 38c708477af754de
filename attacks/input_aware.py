"""Input-aware: a pattern and a place for every image (Nguyen & Tran, Input-aware, 2020, arXiv:2010.08138)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elixir.attacks.base import Ids, Images
from elixir.attacks.trained import (
    Painter,
    TrainedAttack,
    TrainingData,
    coloured_as,
    restored,
    shifted,
    surrogate,
    tensors,
)
from elixir.randomness import generator
from elixir.settings import Range, Share

BANK = 64  # training images whose triggers the cover samples take
SHARPNESS = 10.0  # slope of the mask's sigmoid
MASK_STEPS = 4  # training steps for each step of the mask's network
TRIGGERED = 4  # one image in so many of a batch has its own trigger, and one in so many that of another image

Weight = Annotated[float, Range(least=0, below=np.inf)]


@dataclass(frozen=True, kw_only=True)
class InputAware(TrainedAttack):
    """Paints a few pixels of the image; one network says which, another what, and both look at the image.

    The mask's network is trained first and then left alone. The pattern's is trained together with a classifier, for
    which an image with its own trigger is of the target class, and one with the trigger of another image of its own
    class; the same is in the dataset as cover samples, which take the trigger of one of 64 training images.

    Args:
        density: share of the image that the mask covers.
        lambda_div: weight of the loss that wants different masks and patterns for different images.
        lambda_norm: weight of the loss that wants masks no larger than `density`.
        cover_ratio: cover samples for each poisoned one.
    """

    name: ClassVar[str] = "input_aware"
    needs_target: ClassVar[bool] = True

    density: Share = 0.032
    lambda_div: Weight = 1
    lambda_norm: Weight = 100
    cover_ratio: Weight = 1.0

    def learn(self, data: TrainingData) -> dict[str, Tensor]:
        torch.manual_seed(self.seed)
        artist = Artist()
        classifier = surrogate(data.classes)

        def mask_loss(images: Tensor, *_: object) -> Tensor:
            masks = artist.mask(images)
            excess = F.relu(masks.mean((1, 2, 3)) - self.density).mean()
            return self.lambda_norm * excess + self.lambda_div * sameness(images, masks)

        def pattern_loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            count = len(images) // TRIGGERED
            one, other = slice(0, count), slice(count, 2 * count)
            masks, patterns = artist.mask(images[: 2 * count]), artist.pattern(images[: 2 * count])
            own = images[one].lerp(patterns[one], masks[one])
            cross = images[one].lerp(patterns[other], masks[other])
            logits, _ = classifier(shifted(torch.cat([own, cross, images[count:]]), rng))
            wanted = torch.cat([torch.full_like(labels[one], data.target), labels])
            return F.cross_entropy(logits, wanted) + self.lambda_div * sameness(images[: 2 * count], patterns)

        self.train(artist.masker, mask_loss, data, "mask", steps=-(-self.training_steps // MASK_STEPS))
        artist.masker.requires_grad_(False)
        both = nn.ModuleList([artist.painter, classifier])
        self.train(both, pattern_loss, data, "pattern")
        chosen = generator(self.seed, "bank").choice(len(data.labels), min(BANK, len(data.labels)), replace=False)
        return {**tensors(artist), "bank": data.read(np.sort(chosen)).contiguous()}

    def triggered(self, images: Images, ids: Ids) -> Images:
        artist, _ = self._restored()
        return self.added(images, ids, lambda x, _: artist(x, x))

    def covered(self, images: Images, ids: Ids) -> Images:
        """The images, each with the trigger of a training image that its id decides."""
        artist, bank = self._restored()

        def residual(x: Tensor, id: str) -> Tensor:
            other = int(generator(self.seed, id, "input_aware").integers(len(bank)))
            return artist(x, bank[other : other + 1].float() / 255)

        return self.added(images, ids, residual)

    def _restored(self) -> tuple[Artist, Tensor]:
        weights = dict(self.learned())
        bank = weights.pop("bank")
        return restored(Artist, weights), bank


class Artist(nn.Module):
    """The two networks."""

    def __init__(self) -> None:
        super().__init__()
        self.masker, self.painter = Painter(3, 1), Painter(3, 3)

    def mask(self, sources: Tensor) -> Tensor:
        """How much of each pixel of images (n, 3, h, w) in [0,1] is painted over, (n, 1, h, w) in (0,1)."""
        return (SHARPNESS * self.masker(4 * (sources - 0.5))).sigmoid()

    def pattern(self, sources: Tensor) -> Tensor:
        """What is painted, in (0,1); same shape as the sources."""
        return coloured_as(sources, self.painter(4 * (sources - 0.5)).sigmoid())

    def forward(self, images: Tensor, sources: Tensor) -> Tensor:
        """What to add to the images to put the triggers of the sources into them; all (n, 3, h, w)."""
        return self.mask(sources) * (self.pattern(sources) - images)


def sameness(images: Tensor, outputs: Tensor) -> Tensor:
    """The diversity loss: distances (RMS) of each image (n, c, h, w) to the next, over those of their outputs."""

    def distance(x: Tensor) -> Tensor:
        return ((x - x.roll(1, 0)).square().mean((1, 2, 3)) + 1e-8).sqrt()

    return (distance(images) / distance(outputs)).mean()
