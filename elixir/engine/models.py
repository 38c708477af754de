"""The classifiers of a run: trained once, kept as safetensors, read by name."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from elixir.engine.cost import Meter, gflop_per_image
from elixir.errors import ElixirError
from elixir.models.classifier import Classifier, classify, label_gradient, save_classifier
from elixir.models.of_torchscript import scripts_in
from elixir.models.trained import load_trained
from elixir.progress import Progress
from elixir.training.classifier import ClassifierTraining, ReadPixels, train_classifier

REFERENCE, CLEAN = "reference", "clean"


def heldout_model(number: int) -> str:
    """Name of the cross-fitted model that reads the samples of one fold, from 0 on."""
    return f"crossfit-{number}"


class Models:
    """The classifiers of one run.

    Args:
        folder: where they are kept.
        classes: names of the labels.
        device: where they run.
        meter: counts their time.
        progress: where trainings are shown.
        reference: the user's own classifier, or None to train one.
    """

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        device: torch.device,
        meter: Meter,
        progress: Progress,
        reference: Classifier | None = None,
    ) -> None:
        self._folder = folder
        self.classes = list(classes)
        self._device = device
        self._meter = meter
        self._progress = progress
        self._loaded: dict[str, Classifier] = {} if reference is None else {REFERENCE: reference}
        self.own_reference = reference is not None

    def train(
        self,
        name: str,
        read: ReadPixels,
        indices: np.ndarray,
        labels: np.ndarray,
        settings: ClassifierTraining,
        initial: str | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        """Train a classifier and keep it; nothing is done when an earlier run has kept it.

        Args:
            name: under which it is found.
            read: maps entries of `indices` to uint8 images.
            indices: int64 (n,).
            labels: int64 (n,).
            settings: of the training.
            initial: name of the kept classifier whose weights it starts from; the backbone's by default.
            classes: names of the labels; those of the dataset by default.

        Raises: ElixirError: there are no samples.
        """
        path = self._path(name)
        if path.exists():
            return
        if not len(indices):
            raise ElixirError(f"no image is left to train the {name} model on; are most of the labels under attack?")
        path.parent.mkdir(parents=True, exist_ok=True)
        classes = list(classes or self.classes)
        start = None if initial is None else load_trained(self._path(initial))
        checkpoint = path.with_suffix(".checkpoint")
        passes = 0
        with self._meter.network() as cost, self._progress.task(name, settings.passes(len(indices))) as advance:

            def on_epoch(epoch: int, accuracy: float) -> None:  # noqa: ARG001
                nonlocal passes
                passes = epoch
                advance(1)

            net = train_classifier(
                read, indices, labels, len(classes), settings, checkpoint, on_epoch, self._device, start
            )
            cost.gflop += 3 * gflop_per_image(net, tuple(read(indices[:1]).shape[1:])) * passes * len(indices)
        save_classifier(net, path, classes, torch.float16)
        self._meter.save()

    def copy(self, name: str, to: str) -> None:
        """Keep a classifier under another name as well."""
        save_classifier(load_trained(self._path(name)), self._path(to), self.classes)

    def classify(self, name: str, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities (n, k) and features (n, d), float32, by the classifier of that name.

        Args:
            name: of a classifier that has been trained.
            images: uint8, or float in [0,1], (n, 3, h, w).
        """
        net = self._load(name)
        with self._meter.network(gflop=len(images) * gflop_per_image(net, tuple(images.shape[1:]))):
            logp, features = classify(net, images, self._device)
        return logp.numpy(), features.numpy()

    def label_gradient(self, name: str, images: Tensor, labels: np.ndarray) -> Tensor:
        """How a classifier's logit of each image's label changes with the image; see `label_gradient`."""
        net = self._load(name)
        with self._meter.network(gflop=2 * len(images) * gflop_per_image(net, tuple(images.shape[1:]))):
            return label_gradient(net, images, torch.from_numpy(labels), self._device)

    def _load(self, name: str) -> Classifier:
        if name not in self._loaded:
            self._loaded[name] = load_trained(self._path(name)).fused().requires_grad_(False).to(self._device)
        return self._loaded[name]

    def handed_out(self) -> list[Path]:
        """Files of what a user of the result may want, where they were trained.

        They are the reference and the clean model, and the cross-fitted ones, which read new images without bias; with
        them the TorchScript file that they start from, if they do, without which they cannot be read.
        """
        named = [path for name in (REFERENCE, CLEAN) if (path := self._path(name)).exists()]
        kept = [*named, *sorted(self._folder.glob("crossfit-*.safetensors"))]
        return [*kept, *scripts_in(self._folder)] if kept else []

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"
