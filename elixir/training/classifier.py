"""Training of classifiers: deterministic by seed, resumable by epoch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from elixir.errors import ElixirError
from elixir.models.backbone import load_backbone
from elixir.models.classifier import WIDTHS, SmallResNet, TrainableClassifier, save_classifier
from elixir.progress import Progress
from elixir.randomness import generator
from elixir.settings import Count, Positive, Range, Settings, Share, Steps
from elixir.training.frame import Checkpoint, TrainingJob, checkpoint_of, fingerprint, optimizer_step, training_pixels

ReadPixels = Callable[[np.ndarray], Tensor]


@dataclass
class ClassifierTraining(Settings):
    """Settings of one training. A recipe has those that are not a stage's own: `--set training.KEY=VALUE`.

    Args:
        epochs: passes over the data at most; more where that is fewer than `least_steps`.
        least_steps: of the optimizer, so that a small set is learned as well.
        fitted: share of (augmented) training images predicted right in one pass at which the training stops early;
            above 1 it never does.
        batch: images a step at most.
        smallest_batch: images a step at least, of what `batch` allows.
        batches: of a pass at least, where that leaves them `smallest_batch` images: a small set learns more from many
            small steps than from as many images in few large ones.
        learning_rate: of AdamW at its peak; it rises over the first `warmup` of all steps and then falls to zero. The
            default is for small convolutional networks; transformers want less: a small one learned best at 1e-3, and
            large pretrained ones are usually tuned at 1e-4 or below.
        warmup: share of the steps.
        weight_decay: of AdamW.
        shift: largest random translation, as a fraction of the image side; a pixel at least, unless it is 0.
        flip: mirror half of the images.
        tint: largest random change of each colour channel of an image, as a fraction of its range.
        balance: 0 weighs every sample alike, 1 every class alike; in between, a class counts as size^(1 - balance).
        seed: decides initial weights, order and augmentation.
        backbone: where the weights start: "features" (shipped), "none" (random ones), a file that
            `elixir train classifier` has written, or the body of another network: "timm:NAME" (pretrained),
            "timm:NAME@FILE.safetensors", a transformers folder or hub name, a TorchScript file. It sees the images as
            large as index.size makes them, unless it takes one size alone.
        widths: channels at half, quarter, ... resolution of a network with random weights.
    """

    name: ClassVar[str] = "training"
    of_stages: ClassVar[tuple[str, ...]] = ("epochs", "least_steps", "flip", "tint", "seed")
    """What the stages set themselves."""

    epochs: Steps = 8
    least_steps: Steps = 300
    fitted: Positive = 0.9995
    batch: Annotated[int, Range(least=2)] = 128
    smallest_batch: Annotated[int, Range(least=2)] = 32
    batches: Count = 50
    learning_rate: Annotated[float, Range(above=0, most=1)] = 2e-3
    warmup: Share = 0.15
    weight_decay: Annotated[float, Range(least=0, most=1)] = 0.05
    shift: Annotated[float, Range(least=0, most=0.5)] = 1 / 16
    flip: bool = False
    tint: Annotated[float, Range(least=0, most=1)] = 0.0
    balance: Annotated[float, Range(least=0, most=1)] = 0.5
    seed: int = 0
    backbone: str = "features"
    widths: Annotated[tuple[int, ...], Range(least=1)] = WIDTHS

    def check(self) -> None:
        """Raise `ElixirError` when the backbone cannot be loaded, or has widths of its own and others are set."""
        if load_backbone(self.backbone) and self.widths != WIDTHS:
            raise ElixirError(
                f"training.widths are those of a network with random weights, and training.backbone = {self.backbone!r}"
                ' has its own; set training.backbone to "none" as well'
            )

    def shared(self) -> dict[str, object]:
        """The settings that hold for all trainings of a run, as plain values."""
        return {key: value for key, value in vars(self).items() if key not in self.of_stages}

    def passes(self, count: int) -> int:
        """Passes over `count` images."""
        return max(self.epochs, -(-self.least_steps // self.steps(count)))

    def steps(self, count: int) -> int:
        """Steps of one pass over `count` images."""
        return -(-count // self.batch_of(count))

    def batch_of(self, count: int) -> int:
        """Images of a step of a training on `count` images."""
        return min(self.batch, max(self.smallest_batch, count // self.batches))

    def rate_at(self, progress: float) -> float:
        """Learning rate after a share of the training: linear warm-up, then linear decay to zero."""
        return self.learning_rate * min(progress / self.warmup, (1 - progress) / (1 - self.warmup))


def train_classifier(
    read: ReadPixels,
    rows: np.ndarray,
    labels: np.ndarray,
    classes: int,
    settings: ClassifierTraining,
    checkpoint: Path,
    on_epoch: Callable[[int, float], None] = lambda epoch, accuracy: None,
    device: torch.device | None = None,
    start: TrainableClassifier | None = None,
) -> TrainableClassifier:
    """Train a classifier, in evaluation mode at the end; goes on from `checkpoint` where there is one, and removes it.

    Args:
        read: maps rows (n,) to uint8 images (n, 3, h, w).
        rows: which rows to train on, int64.
        labels: their labels, int64, in 0..classes-1.
        on_epoch: called with the number of epochs done and the training accuracy.
        device: where to train; the CPU by default.
        start: whose weights to start from, but for its head; `settings.backbone` by default.

    Raises: ElixirError: the checkpoint is damaged or of another training.
    """
    device = device or torch.device("cpu")
    torch.manual_seed(settings.seed)
    start = start or load_backbone(settings.backbone)
    net = SmallResNet(classes, widths=settings.widths) if start is None else start.with_classes(classes)
    net = net.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    some = read(rows[[0, len(rows) // 2, -1]]).numpy()
    identity = fingerprint(net, (settings, classes), rows, labels, some)
    state = Checkpoint(checkpoint, {"net": net}, optimizer, identity)
    counters = state.load()
    epoch, done = counters.get("epoch", 0), bool(counters.get("done", 0))
    counts = np.bincount(labels, minlength=classes).clip(1)
    class_weight = torch.from_numpy((counts.mean() / counts) ** settings.balance).float().to(device)
    batch, steps, epochs = settings.batch_of(len(rows)), settings.steps(len(rows)), settings.passes(len(rows))
    right = torch.zeros((), dtype=torch.int64, device=device)  # read once a pass: to read it is to wait

    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        logits, _ = net(x)
        right.add_((logits.argmax(1) == y).sum())
        return F.cross_entropy(logits, y, class_weight)

    net.train()
    while epoch < epochs and not done:
        rng = generator(settings.seed, "epoch", epoch)
        order = rng.permutation(len(rows))
        torch.manual_seed(int(generator(settings.seed, "dropout", epoch).integers(2**63)))
        right.zero_()
        for step in range(steps):
            chosen = order[step * batch : (step + 1) * batch]
            if len(chosen) < 2:
                continue  # batch normalisation has no variance of one image
            x = augment(read(rows[chosen]), settings, rng).to(device, non_blocking=True).float() / 255
            y = torch.from_numpy(labels[chosen]).to(device, non_blocking=True)
            rate = settings.rate_at((epoch + (step + 1) / (steps + 1)) / epochs)
            optimizer_step(optimizer, rate, loss_of, (x, y), device)
        epoch += 1
        share = int(right) / len(rows)
        done = share >= settings.fitted
        on_epoch(epoch, share)
        state.save(epoch=epoch, done=int(done))
    state.remove()
    return net.eval()


def augment(images: Tensor, settings: ClassifierTraining, rng: np.random.Generator) -> Tensor:
    """Shift, mirror and tint images, uint8 (n, 3, h, w), each in its own way: see `ClassifierTraining`."""
    number, _, height, width = images.shape
    reach = max(1, round(settings.shift * min(height, width))) if settings.shift else 0
    offsets = torch.from_numpy(rng.integers(-reach, reach + 1, (number, 2)))
    rows = (offsets[:, :1] + torch.arange(height)).clamp(0, height - 1)
    columns = (offsets[:, 1:] + torch.arange(width)).clamp(0, width - 1)
    shifted = images.gather(2, rows[:, None, :, None].expand_as(images))
    shifted = shifted.gather(3, columns[:, None, None].expand_as(images))
    if settings.flip:
        mirrored = torch.from_numpy(rng.random(number) < 0.5)
        shifted[mirrored] = shifted[mirrored].flip(-1)
    if settings.tint:
        levels = torch.from_numpy(rng.uniform(-255 * settings.tint, 255 * settings.tint, (number, 3, 1, 1)))
        shifted = (shifted + levels.round().short()).clamp(0, 255).byte()
    return shifted


def train_classifier_on(job: TrainingJob, settings: ClassifierTraining) -> float:
    """Train on the images and labels of a source and write the classifier (fp16) with its label names to `job.out`.

    An interrupted training goes on from `job.out` + '.checkpoint'. For errors see `training_pixels`. Returns the share
    of the (augmented) training images predicted right in the last pass.
    """
    source, progress = job.source, Progress(job.quiet)
    accuracies = [0.0]
    with training_pixels(job, progress) as (store, rows):
        labels = source.samples.labels[rows].astype(np.int64)
        with progress.task("training", settings.passes(len(rows))) as advance:

            def on_epoch(_: int, accuracy: float) -> None:
                accuracies.append(accuracy)
                advance(1)

            indices, classes, checkpoint = np.arange(len(rows)), len(source.classes), checkpoint_of(job.out)
            net = train_classifier(store.read, indices, labels, classes, settings, checkpoint, on_epoch, job.device)
        save_classifier(net, job.out, source.classes, torch.float16)
    return accuracies[-1]
