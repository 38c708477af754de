"""What every attack is: a frozen set of parameters that puts a trigger into images."""

from __future__ import annotations

import dataclasses
import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from elixir.attacks.poison import poison_dataset
from elixir.errors import ElixirError

LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """A backdoor attack; its fields are its parameters.

    Args:
        seed: of everything the attack makes for itself; an attack is the same trigger again for the same seed.
        truncate: cut fractions of a pixel value off, as most public code does, instead of rounding.

    Raises:
        ElixirError: a parameter is out of range.
    """

    name: ClassVar[str]
    clean_label: ClassVar[bool] = False
    """Whether it poisons images of the target class, whose label is right, and changes no label."""

    seed: int = 0
    truncate: bool = False

    def __post_init__(self) -> None:
        if type(self.seed) is not int or self.seed < 0:
            raise ElixirError(f"{self.name}: seed is {self.seed!r}; it must be a whole number of at least 0")
        if type(self.truncate) is not bool:
            raise ElixirError(f"{self.name}: truncate is {self.truncate!r}; it must be true or false")

    poison_dataset = poison_dataset  # attack.poison_dataset(source, out, target, ...)

    @classmethod
    def configure(cls, settings: Mapping[str, Any]) -> Self:
        """The attack with these parameters, the others at their defaults.

        Raises:
            ElixirError: there is no such parameter, or its value is out of range.
        """
        known = [parameter.name for parameter in dataclasses.fields(cls)]
        for key in settings:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                raise ElixirError(f"the attack {cls.name!r} has no setting {key!r}; {hint}")
        return cls(**settings)

    def settings(self) -> dict[str, Any]:
        """All parameters by name, for the record."""
        return dataclasses.asdict(self)

    def poison(self, images: NDArray[np.uint8], ids: Sequence[str]) -> NDArray[np.uint8]:
        """Copies of the images with the trigger, for training and test images alike.

        Args:
            images: uint8 (n, h, w, c) in 0..255; three channels are RGB, any other number has no colours.
            ids: n stable sample ids; what an attack draws for one sample depends on its id, not on its place.

        Returns:
            uint8, same shape.
        """
        values = np.clip(self.triggered(images.astype(np.float64), ids), 0, 255)
        return (values if self.truncate else np.rint(values)).astype(np.uint8)

    @abstractmethod
    def triggered(self, images: NDArray[np.float64], ids: Sequence[str]) -> NDArray[np.float64]:
        """The images with the trigger, before they are cut to 0..255; float64 (n, h, w, c). May write into `images`."""


def in_channels(rgb: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
    """A pattern (h, w, 3) for images with that many channels: its grey levels in each where they are not three."""
    return rgb if channels == 3 else np.repeat((rgb @ LUMA)[..., None], channels, axis=-1)
