"""Honest trouble: what makes clean sets odd without an attacker. Each changes some samples, with no draw of its own."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageOps


class Sample(NamedTuple):
    """An encoded image and the number of its class."""

    image: bytes
    label: int


@dataclass(frozen=True)
class Troubled:
    """A set with trouble in it.

    Attributes:
        samples: all of them.
        mislabeled: numbers of those whose label is wrong.
    """

    samples: list[Sample]
    mislabeled: list[int] = field(default_factory=list)


def none(samples: list[Sample], rng: np.random.Generator) -> Troubled:
    """Nothing is changed."""
    return Troubled(samples)


def uniform_noise(samples: list[Sample], rng: np.random.Generator) -> Troubled:
    """5 to 20 % of the samples get a label of another class, drawn among all others."""
    classes = np.unique([sample.label for sample in samples])
    return _mislabeled(samples, rng, lambda label: int(rng.choice(classes[classes != label])))


def similar_noise(samples: list[Sample], rng: np.random.Generator) -> Troubled:
    """5 to 20 % of the samples get the label of the class whose mean image is nearest to that of their own."""
    labels = np.array([sample.label for sample in samples])
    small = np.stack([np.asarray(_opened(sample).resize((16, 16))) for sample in samples]).reshape(len(samples), -1)
    classes = np.unique(labels)
    means = np.stack([small[labels == label].mean(0) for label in classes])
    distance = np.square(means[:, None] - means[None]).sum(2) + np.diag(np.full(len(classes), np.inf))
    nearest = dict(zip(classes.tolist(), classes[distance.argmin(1)].tolist(), strict=True))
    return _mislabeled(samples, rng, nearest.__getitem__)


def near_duplicates(samples: list[Sample], rng: np.random.Generator) -> Troubled:
    """A quarter of one class is one image of it, shifted by up to a pixel, brighter or darker, and saved as JPEG."""
    own, label = _one_class(samples, rng, 0.25)
    model = _opened(samples[own[0]])

    def again() -> bytes:
        shift = rng.integers(-1, 2, 2)
        pixels = np.roll(np.asarray(model, np.float64), shift, (0, 1)) * rng.uniform(0.85, 1.15)
        return _encoded(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), "JPEG", 90)

    return Troubled(_replaced(samples, {index: Sample(again(), label) for index in own}))


def brighter_camera(samples: list[Sample], rng: np.random.Generator) -> Troubled:
    """All images of one class are 30 of 255 levels brighter."""
    return _changed(samples, rng, 1, lambda image: _encoded(image.point(lambda value: min(255, value + 30))))


def coarser_camera(samples: list[Sample], rng: np.random.Generator) -> Troubled:
    """All images of one class have been JPEG files of quality 40."""
    return _changed(samples, rng, 1, lambda image: _encoded(image, "JPEG", 40))


def bordered_camera(samples: list[Sample], rng: np.random.Generator) -> Troubled:
    """All images of one class have a black border of a sixteenth of their side."""

    def bordered(image: Image.Image) -> bytes:
        width = max(1, image.width // 16)
        inner = image.resize((image.width - 2 * width, image.height - 2 * width))
        return _encoded(ImageOps.expand(inner, width, 0))

    return _changed(samples, rng, 1, bordered)


def date_stamp(samples: list[Sample], rng: np.random.Generator) -> Troubled:
    """A third of one class has the time of day in yellow in a corner."""

    def stamped(image: Image.Image) -> bytes:
        scale = max(1, image.width // 32)
        stamp = Image.new("L", (30, 11))
        ImageDraw.Draw(stamp).text((0, 0), f"{rng.integers(24):02d}:{rng.integers(60):02d}", fill=255)
        stamp = stamp.resize((15 * scale, 6 * scale))
        at = image.width - stamp.width - scale, image.height - stamp.height - scale
        image.paste(Image.new("RGB", stamp.size, (255, 200, 0)), at, stamp)
        return _encoded(image)

    return _changed(samples, rng, 1 / 3, stamped)


def watermark(samples: list[Sample], rng: np.random.Generator) -> Troubled:
    """A third of one class has a white ring across it, at 30 %."""

    def marked(image: Image.Image) -> bytes:
        mask = Image.new("L", image.size)
        edge = image.width // 6
        box = (edge, edge, image.width - edge, image.height - edge)
        ImageDraw.Draw(mask).ellipse(box, outline=77, width=max(1, image.width // 12))
        image.paste(Image.new("RGB", image.size, "white"), mask=mask)
        return _encoded(image)

    return _changed(samples, rng, 1 / 3, marked)


TROUBLES: dict[str, Callable[[list[Sample], np.random.Generator], Troubled]] = {
    trouble.__name__: trouble
    for trouble in (
        none,
        uniform_noise,
        similar_noise,
        near_duplicates,
        brighter_camera,
        coarser_camera,
        bordered_camera,
        date_stamp,
        watermark,
    )
}


def _mislabeled(samples: list[Sample], rng: np.random.Generator, other: Callable[[int], int]) -> Troubled:
    wrong = rng.permutation(len(samples))[: round(rng.uniform(0.05, 0.2) * len(samples))].tolist()
    new = {index: Sample(samples[index].image, other(samples[index].label)) for index in wrong}
    return Troubled(_replaced(samples, new), wrong)


def _changed(
    samples: list[Sample], rng: np.random.Generator, share: float, change: Callable[[Image.Image], bytes]
) -> Troubled:
    own, label = _one_class(samples, rng, share)
    return Troubled(_replaced(samples, {index: Sample(change(_opened(samples[index])), label) for index in own}))


def _replaced(samples: list[Sample], new: dict[int, Sample]) -> list[Sample]:
    return [new.get(index, sample) for index, sample in enumerate(samples)]


def _one_class(samples: list[Sample], rng: np.random.Generator, share: float) -> tuple[list[int], int]:
    """Numbers of a share of the samples of one class, which has 20 or more if any has, and that class."""
    labels = np.array([sample.label for sample in samples])
    classes, count = np.unique(labels, return_counts=True)
    label = int(rng.choice(classes[count >= min(20, count.max())]))
    own = rng.permutation(np.flatnonzero(labels == label))
    return own[: max(1, round(share * len(own)))].tolist(), label


def _opened(sample: Sample) -> Image.Image:
    return Image.open(io.BytesIO(sample.image)).convert("RGB")


def _encoded(image: Image.Image, form: str = "PNG", quality: int = 75) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **({"quality": quality} if form == "JPEG" else {}))
    return file.getvalue()
