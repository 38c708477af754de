"""Attacks whose trigger comes out of networks: the networks, their training on the data at hand, and their use."""

import tempfile
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elixir.attacks.base import Attack, Ids, Images
from elixir.data.pixels import cache_pixels
from elixir.data.source import Source
from elixir.errors import ElixirError
from elixir.models.classifier import Residual, SmallResNet, conv
from elixir.models.device import fast_dtype
from elixir.progress import Progress
from elixir.randomness import generator
from elixir.settings import Count, Range
from elixir.training.classifier import ClassifierTraining, augment

LEARNING_RATE = 2e-3  # at its peak
WEIGHT_DECAY = 0.01
WIDTHS = (48, 96)  # of the attacks' own classifiers
WARMUP = 0.15  # share of the steps in which the learning rate rises

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class TrainingData:
    """The dataset that is going to be poisoned, at the attack's own size.

    `read` maps int64 indices (n,) to uint8 images (n, 3, size, size). Labels are int64 (count,); `classes` is how many
    there are, and `target` the attacked one, -1 for all-to-all. `progress` shows how far a training is.
    """

    read: Callable[[np.ndarray], Tensor]
    labels: np.ndarray
    classes: int
    target: int
    progress: Progress


class Painter(nn.Module):
    """A small network from images to images of any size; `width` channels at half size, twice as many at a quarter."""

    def __init__(self, inputs: int, outputs: int, width: int = 32) -> None:
        super().__init__()
        self.fine = conv(4 * inputs, width)
        self.coarse = nn.Sequential(
            conv(width, 2 * width, stride=2), Residual(2 * width), nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        )
        self.tail = nn.Sequential(conv(width, width), nn.Conv2d(width, 4 * outputs, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % 4, 0, -height % 4), mode="replicate")
        fine = self.fine(F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last))
        painted = self.tail(fine + self.coarse(fine)).float()
        return F.pixel_shuffle(painted, 2)[..., :height, :width]


def surrogate(classes: int) -> SmallResNet:
    """An untrained classifier of half the usual width, for attacks that need one of their own."""
    return SmallResNet(classes, widths=WIDTHS)


def shifted(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Images (n, 3, h, w), each moved a little, as it will be where the poisoned data are learned."""
    return augment(images, ClassifierTraining(), rng)


def tensors(net: nn.Module) -> dict[str, Tensor]:
    """A network's state, to be stored."""
    return {name: t.detach().contiguous() for name, t in net.state_dict().items()}


def restored(build: Callable[[], Net], weights: Mapping[str, Tensor]) -> Net:
    """The network with that state, in evaluation mode; no random numbers are drawn for it."""
    with torch.device("meta"):
        net = build()
    net.load_state_dict(weights, assign=True)
    return net.eval().requires_grad_(False)


def coloured_as(images: Tensor, values: Tensor) -> Tensor:
    """The values, or their mean over the channels for images without colours; both (n, 3, h, w)."""
    grey = (images == images[:, :1]).flatten(1).all(1).view(-1, 1, 1, 1)
    return torch.where(grey, values.mean(1, keepdim=True), values)


@dataclass(frozen=True, kw_only=True)
class TrainedAttack(Attack):
    """An attack whose trigger comes out of networks.

    The networks see an image at one small size; what they add to it is brought to the size of the image.

    Args:
        size: height and width in pixels at which the networks work.
        training_steps: of the optimizer while they are trained.
    """

    size: Annotated[int, Range(least=8)] = 32
    training_steps: Count = 1000

    def fit(self, source: Source, target: int, progress: Progress) -> Self:
        with tempfile.TemporaryDirectory(prefix=f"elixir-{self.name}-") as folder:
            store, rows = cache_pixels(source, Path(folder) / "pixels.u8", self.size)
            labels = source.samples.labels[rows].astype(np.int64)
            data = TrainingData(store.read, labels, len(source.classes), target, progress)
            return self.with_weights(self.learn(data))

    @abstractmethod
    def learn(self, data: TrainingData) -> dict[str, Tensor]:
        """Train the networks; deterministic by `seed`. Returns all that `with_weights` needs."""

    def train(
        self,
        net: nn.Module,
        loss: Callable[[Tensor, Tensor, np.random.Generator], Tensor],
        data: TrainingData,
        name: str,
        steps: int | None = None,
        batch: int = 64,
    ) -> None:
        """Train with AdamW on random batches, which `seed` and `name` decide; the learning rate rises and falls again.

        Args:
            net: is left in evaluation mode.
            loss: of a batch: float images (n, 3, size, size) in [0,1], their int64 labels (n,), a random generator.
            steps: number of batches; `training_steps` by default.
        """
        rng, steps = generator(self.seed, name), steps or self.training_steps
        optimizer = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, LEARNING_RATE, total_steps=steps + 1, pct_start=WARMUP
        )
        net.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        with data.progress.task(name, steps) as advance:
            for _ in range(steps):
                chosen = rng.integers(len(data.labels), size=batch)
                images, labels = data.read(chosen).float() / 255, torch.from_numpy(data.labels[chosen])
                with torch.autocast("cpu", torch.bfloat16, enabled=fast_dtype(images.device) != torch.float32):
                    value = loss(images, labels, rng)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                schedule.step()
                advance(1)
        net.eval()

    def classifier(self, data: TrainingData) -> SmallResNet:
        """A surrogate that has learned the dataset's labels."""
        torch.manual_seed(self.seed)
        net = surrogate(data.classes)

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            return F.cross_entropy(net(shifted(images, rng))[0], labels)

        self.train(net, loss, data, "surrogate")
        return net

    def learned(self) -> Mapping[str, Tensor]:
        """The weights; an ElixirError where the attack has not been fitted."""
        if not self.weights:
            what = f"{self.name} has to learn from the data first: call fit, or read it as it was fitted"
            raise ElixirError(f"{what} from the truth beside what it has poisoned (--truth)")
        return self.weights

    def added(self, images: Images, ids: Ids, residual: Callable[[Tensor, str], Tensor]) -> np.ndarray:
        """Images (n, h, w, c) in 0..255 plus what a network adds to each, one after another: the batch does not matter.

        `residual` maps an image, float32 (1, 3, size, size) in [0,1], and its id to what is added to it.
        """
        for image, id in zip(images, ids, strict=True):
            x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
            x = x if x.shape[1] == 3 else x.mean(1, keepdim=True).expand(-1, 3, -1, -1)
            change = _resized(residual(_resized(x, (self.size, self.size)), id), image.shape[:2])[0].double()
            image += 255 * (change if image.shape[2] == 3 else change.mean(0, keepdim=True)).permute(1, 2, 0).numpy()
        return images


def _resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", antialias=True)
