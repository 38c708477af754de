"""Stand-ins for the trained classifiers and for the purifier: functions of what patterns a picture has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from golden.pictures import KEYS, LOOSE, PATCH, PATTERNS, SIDE
from torch import Tensor
from torch.nn import functional as F

CLEAR, SOME = 25, 10  # grey levels between the strongest colour and the next
MUCH = 0.2  # noise
BLOCK = 4  # pixels along each side
BASIS = np.stack([pattern.ravel() for pattern in PATTERNS.values()], 1).astype(np.float64)


class Traits:
    """What is in some images.

    Args:
        images: uint8 (n, 3, 16, 16) or twice that size, or float in [0,1].

    Attributes:
        colour: how far each channel is above their mean, float64 (n, 3), in grey levels.
    """

    def __init__(self, images: Tensor) -> None:
        x = images.numpy().astype(np.float64) * (1 if images.dtype == torch.uint8 else 255)
        if x.shape[-1] > SIDE:
            x = x.reshape(len(x), 3, SIDE, 2, SIDE, 2).mean((3, 5))
        self.colour = (x.mean((2, 3)) - x.mean((1, 2, 3))[:, None]).round(3)
        self._found = dict(zip(PATTERNS, (x.mean(1).reshape(len(x), -1) @ BASIS).T / BASIS.shape[0], strict=True))
        block = x[:, :, *PATCH].mean((1, 3))
        self._found["patch"] = block[:, :2].mean(1) - block[:, 2:].mean(1)

    def __getitem__(self, trait: str) -> np.ndarray:
        """Strength of a pattern, of "patch", of the "keyed" one or of the strongest ("anykey"), float64 (n,)."""
        if trait == "keyed":
            key = sum((self[f"bit{place}"] > 0).astype(int) << place for place in range(3))
            return self._keys[np.arange(len(self._keys)), key]
        if trait == "anykey":
            return self._keys.max(1)
        if "|" in trait:  # the stronger one
            return np.max([self[either] for either in trait.split("|")], axis=0)
        return self._found[trait]

    @property
    def _keys(self) -> np.ndarray:
        return np.stack([self._found[key] for key in KEYS], 1)


@dataclass(frozen=True)
class Fires:
    """A label that a classifier names wherever a trait is at least so strong."""

    trait: str
    least: float
    label: int
    probability: float = 0.9


@dataclass(frozen=True)
class Reader:
    """A classifier that names colours.

    Args:
        plain: probabilities of the strongest colour, the next and the last, where the strongest is clear.
        faint: the same where it is not so clear; as `plain` by default.
        mixed: the same where two are about as strong.
        fires: what overrules the colour; the last that applies decides.
        misread: traits with their least strength from which the next class is named instead.
    """

    plain: tuple[float, float, float] = (0.98, 0.01, 0.01)
    faint: tuple[float, float, float] | None = None
    mixed: tuple[float, float, float] = (0.45, 0.35, 0.2)
    fires: tuple[Fires, ...] = ()
    misread: tuple[tuple[str, float], ...] = ()

    def read(self, traits: Traits, classes: int) -> np.ndarray:
        """Log-probability of each label, float32 (n, classes)."""
        ranked = np.argsort(-traits.colour[:, :classes], axis=1, kind="stable")
        sorted_colour = np.take_along_axis(traits.colour, ranked, 1)
        lead = sorted_colour[:, 0] - sorted_colour[:, 1]
        levels = np.array([self.mixed, self.faint or self.plain, self.plain])[:, :classes]
        level = (lead > SOME).astype(int) + (lead > CLEAR)
        probability = np.empty((len(lead), classes))
        np.put_along_axis(probability, ranked, levels[level], 1)
        for trait, least in self.misread:
            other = traits[trait] > least
            probability[other] = np.roll(probability[other], 1, axis=1)
        for fires in self.fires:
            here = traits[fires.trait] > fires.least
            probability[here] = (1 - fires.probability) / (classes - 1)
            probability[here, fires.label] = fires.probability
        return np.log(probability / probability.sum(1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Recognizer:
    """A classifier with one class more for the flagged samples of every attacked label.

    The more samples of that class it was taught, the fainter a trait it recognizes.

    Args:
        trait: of each label, by which it tells its flagged samples.
        least: strength from which a sample is rather flagged than not, when it has learned from none.
        gain: by how much every sample that it has learned from lowers that.
        slope: of the log-odds.
    """

    trait: Mapping[int, str]
    least: float
    gain: float = 0.0
    slope: float = 1.5

    def read(self, traits: Traits, classes: int, extra: Mapping[int, int]) -> np.ndarray:
        """Log-probability of each label and of each class more, float32 (n, classes + len(extra)).

        Args:
            traits: of the images.
            classes: number of labels.
            extra: label -> number of flagged samples of it that the classifier was taught, in order of the classes.
        """
        some = (traits["loose0"] + traits["loose1"]) / 12  # in [-1,1], so that no two samples are quite alike
        odds = [
            (self.slope * (traits[self.trait[label]] - self.least + self.gain * count)).clip(-10, 10) + some
            for label, count in extra.items()
        ]
        logits = np.stack([*[np.zeros(len(some))] * classes, *odds], 1)
        return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


@dataclass(frozen=True)
class Features:
    """What the reference model makes of an image beside its reading.

    Args:
        traits: patterns that it notices, with the weight and the largest size of each.
        colour: weight of the colours.
        loose: weight of patterns that tell nothing.
    """

    traits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    colour: float = 0.0
    loose: float = 0.5

    def read(self, traits: Traits) -> np.ndarray:
        """Float32 (n, d)."""
        noticed = [(weight * traits[trait]).clip(-most, most) for trait, (weight, most) in self.traits.items()]
        loose = [self.loose * traits[trait] for trait in LOOSE]
        return np.stack([np.full(len(loose[0]), 20.0), *(self.colour * traits.colour.T), *loose, *noticed], 1).astype(
            np.float32
        )


def occlusion_gradient(logp: Callable[[Tensor], np.ndarray], images: Tensor) -> Tensor:
    """What stands for the gradient of a stand-in, which has steps: the effect of occluding each block of 4x4 pixels.

    The gradient is `effect * dev / sum(dev ** 2)` over a block, where `dev` is a pixel's deviation from the mean colour
    of the image, so that the sum of gradient times deviation is the effect.

    Args:
        logp: log-probability of each image's label, float32 (n,), for images like the given ones.
        images: float in [0,1], (n, 3, s, s).

    Returns:
        float32, of the same shape.
    """
    mean = images.mean((2, 3), keepdim=True)
    deviation = images - mean
    gradient = torch.zeros_like(images)
    before = logp(images)
    for top in range(0, images.shape[2], BLOCK):
        for left in range(0, images.shape[3], BLOCK):
            block = slice(None), slice(None), slice(top, top + BLOCK), slice(left, left + BLOCK)
            occluded = images.clone()
            occluded[block] = mean
            effect = torch.from_numpy(before - logp(occluded))
            squares = deviation[block].square().sum((1, 2, 3))
            scale = torch.where(squares > 0, effect / squares.clamp(min=1e-12), 0)
            gradient[block] = scale[:, None, None, None] * deviation[block]
    return gradient


class Smoother:
    """A purifier of whole numbers: it smooths along rows, twice at much noise, and leaves some of the noise's signs.

    Of a pattern that changes its sign at every pixel of a row a fifth is left, one that changes it rarely stays. Where
    pixels are no whole grey levels they are rounded at a place where means of a few hundred never lie.
    """

    nfe = 1

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        """See `Purifier.purify`; the noise is looked at for its signs alone."""
        signs = torch.where(noise > 0, 1, -1)
        smooth = self._smooth(x)
        if sigma > MUCH:
            smooth = self._smooth(smooth / 255)
        return (smooth + round(8 * sigma) * signs).clamp(0, 255) / 255

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        """Smoothed and rounded to grey levels."""
        return self._smooth(noisy) / 255

    @staticmethod
    def _smooth(x: Tensor) -> Tensor:
        whole = (255 * x.double() + 0.5 - 1 / 1920).floor()
        padded = F.pad(whole, (1, 1, 0, 0), mode="reflect")
        return ((padded[..., :-2] + 3 * whole + padded[..., 2:] + 2.5) / 5).floor().float()
