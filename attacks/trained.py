"""What the attacks with networks of their own share: these are trained on the data at hand, at one small size."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from elixir.attacks.base import Attack
from elixir.attacks.networks import TrainingData
from elixir.data.pixels import cache_pixels
from elixir.data.source import Source
from elixir.errors import ElixirError
from elixir.progress import Progress


@dataclass(frozen=True, kw_only=True)
class TrainedAttack(Attack):
    """An attack whose trigger comes out of networks.

    The networks see an image at one small size; what they add to it is brought to the size of the image.

    Args:
        size: height and width in pixels at which the networks work.
        training_steps: of the optimizer while they are trained.

    Raises:
        ElixirError: a parameter is out of range.
    """

    size: int = 32
    training_steps: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("size", 8)
        self._whole("training_steps", 1)

    def fit(self, source: Source, target: int, progress: Progress) -> Self:
        with tempfile.TemporaryDirectory(prefix=f"elixir-{self.name}-") as folder:
            store, rows = cache_pixels(source, Path(folder) / "pixels.u8", self.size)
            labels = np.array([source.samples[int(row)].label for row in rows], np.int64)
            data = TrainingData(store.read, labels, len(source.classes), target)
            return self.with_weights(self.learn(data, progress))

    @abstractmethod
    def learn(self, data: TrainingData, progress: Progress) -> dict[str, Tensor]:
        """Train the networks; deterministic by `seed`. Returns all that `with_weights` needs."""

    def learned(self) -> Mapping[str, Tensor]:
        """The weights.

        Raises:
            ElixirError: the attack has not been fitted.
        """
        if not self.weights:
            raise ElixirError(
                f"{self.name} has to learn from the data first: call fit, or read it as it was fitted from the truth "
                "beside what it has poisoned (--truth)"
            )
        return self.weights

    def added(
        self, images: NDArray[np.float64], ids: Sequence[str], residual: Callable[[Tensor, str], Tensor]
    ) -> NDArray[np.float64]:
        """The images plus what a network adds to each; one after another, so that the batch does not matter.

        Args:
            images: float64 (n, h, w, c) in 0..255.
            ids: n sample ids.
            residual: maps an image, float32 (1, 3, size, size) in [0,1], and its id to what is added to it.
        """
        for image, id in zip(images, ids, strict=True):
            x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
            x = x if x.shape[1] == 3 else x.mean(1, keepdim=True).expand(-1, 3, -1, -1)
            change = _resized(residual(_resized(x, (self.size, self.size)), id), image.shape[:2])[0].double()
            image += 255 * (change if image.shape[2] == 3 else change.mean(0, keepdim=True)).permute(1, 2, 0).numpy()
        return images


def _resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", antialias=True)
