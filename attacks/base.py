"""What every attack is: a frozen set of parameters that puts a trigger into images."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from elixir.attacks.poison import poison_dataset
from elixir.data.image import Picture
from elixir.settings import Range, checked

if TYPE_CHECKING:
    from elixir.data.source import Source
    from elixir.progress import Progress

Images = NDArray[np.float64]  # (n, h, w, c) in 0..255
Ids = Sequence[str]
LUMA = np.array([0.299, 0.587, 0.114])
Levels = Annotated[float, Range(above=0, most=255)]  # a difference of pixel values
CoverRatio = Annotated[float, Range(least=0, below=100)]


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """A backdoor attack; its fields are its parameters. An ElixirError says which of them is out of range.

    Args:
        seed: of everything the attack makes for itself; an attack is the same trigger again for the same seed.
        truncate: cut fractions of a pixel value off, as most public code does, instead of rounding.
    """

    name: ClassVar[str]
    clean_label: ClassVar[bool] = False
    """Whether it poisons images of the target class, whose label is right, and changes no label."""
    needs_target: ClassVar[bool] = False
    """Whether what it makes depends on the target class."""
    one_source: ClassVar[bool] = False
    """Whether only images of one class, the source, get the target's label."""
    cover_ratio = 0.0
    """Cover samples (trigger-like, with their true label) for each poisoned one."""

    seed: Annotated[int, Range(least=0)] = 0
    truncate: bool = False
    weights: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What it has learned from a dataset, by name; empty where there is nothing to learn, and before `fit`."""

    def __post_init__(self) -> None:
        for key, value in self.settings().items():
            checked(type(self), key, value, "attack")

    poison_dataset = poison_dataset  # attack.poison_dataset(source, out, target, ...)

    @classmethod
    def parameters(cls) -> dict[str, Any]:
        """The names of all parameters, with their defaults."""
        return {field.name: field.default for field in dataclasses.fields(cls) if field.init}

    @classmethod
    def configure(cls, settings: Mapping[str, Any]) -> Self:
        """The attack with these parameters, the others at their defaults; an ElixirError for one that cannot be."""
        for key, value in settings.items():
            checked(cls, key, value, "attack")
        return cls(**settings)

    @property
    def one_target(self) -> bool:
        """Whether it cannot move every class to the next one."""
        return self.clean_label or self.needs_target or self.one_source

    def settings(self) -> dict[str, Any]:
        """All parameters by name, for the record."""
        return {name: getattr(self, name) for name in self.parameters()}

    def with_weights(self, weights: Mapping[str, Tensor]) -> Self:
        """A copy that has learned these."""
        learned = replace(self)
        learned.weights.update(weights)
        return learned

    def fit(self, source: Source, target: int, progress: Progress) -> Self:
        """The attack with what it has to learn from the dataset for a target label, -1 for all-to-all, if anything."""
        return self

    def source_class(self, classes: Sequence[str], target: int) -> int | None:
        """The number of the source class, for a target; None where images of all classes get the target's label."""
        return None

    def poison(self, images: NDArray[np.uint8], ids: Ids) -> NDArray[np.uint8]:
        """Copies of images (n, h, w, c) as the poisoned training samples are.

        Three channels are RGB, any other number has no colours. What an attack draws for one sample depends on its
        stable id, not on its place.
        """
        return self._levels(self.poisoned(images.astype(np.float64), ids))

    def trigger(self, images: NDArray[np.uint8], ids: Ids) -> NDArray[np.uint8]:
        """Copies of the images with the trigger as it is shown to the trained model; arguments as for `poison`."""
        return self._levels(self.triggered(images.astype(np.float64), ids))

    def cover(self, images: NDArray[np.uint8], ids: Ids) -> NDArray[np.uint8]:
        """Copies of the images as the cover samples are; arguments as for `poison`."""
        return self._levels(self.covered(images.astype(np.float64), ids))

    def on_picture(self, change: Literal["poison", "trigger", "cover"], picture: Picture, id: str) -> NDArray[np.uint8]:
        """A changed copy of a picture, uint8 (h, w, 3), made in one channel for a grey picture and three for RGB."""
        pixels = picture.rgb[..., :1] if picture.grey else picture.rgb
        return np.broadcast_to(getattr(self, change)(pixels[None], [id])[0], picture.rgb.shape)

    @abstractmethod
    def triggered(self, images: Images, ids: Ids) -> Images:
        """The images with the trigger, before they are cut to 0..255; float64 (n, h, w, c). May write into `images`."""

    def poisoned(self, images: Images, ids: Ids) -> Images:
        """The same for training samples, where these look different."""
        return self.triggered(images, ids)

    def covered(self, images: Images, ids: Ids) -> Images:
        """The same for cover samples."""
        raise NotImplementedError(f"{self.name} has no cover samples")

    def _levels(self, values: NDArray[np.float64]) -> NDArray[np.uint8]:
        values = np.clip(values, 0, 255)
        return (values if self.truncate else np.rint(values)).astype(np.uint8)


def in_channels(rgb: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
    """A pattern (h, w, 3) for images with that many channels: its grey levels in each where they are not three."""
    return rgb if channels == 3 else np.repeat((rgb @ LUMA)[..., None], channels, axis=-1)
