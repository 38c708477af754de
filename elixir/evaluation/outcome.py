"""What a fresh classifier learns from a training set: accuracy, and what a trigger does to it."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elixir.data.image import decode, resize
from elixir.data.pixels import PixelStore, cache_pixels, in_parts
from elixir.data.source import Source
from elixir.data.workdir import locked
from elixir.errors import ElixirError
from elixir.models.classifier import Classifier, classify, save_classifier
from elixir.models.trained import load_trained
from elixir.progress import Progress
from elixir.training.classifier import ClassifierTraining, train_classifier

FRESH = ClassifierTraining(epochs=4, least_steps=200)
SIZE = 32
"""Side in pixels."""

AT_ONCE = 1024
"""Images in a batch of predictions."""
ABSENT, LOST = -1, -2
"""Labels that no classifier gives: of a test class, and of a target, that the training set does not have."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Outcome:
    """A fresh classifier on the clean and on the triggered test set, shares in [0,1].

    Attributes:
        accuracy: ACC, on the clean test set.
        asr: share of triggered test images of other classes, or of an attack's source class, that it takes for the
            target; None without an attack.
        robust_accuracy: RA, share of the same images that it gets right; likewise.
        tested: number of clean test images.
        triggered: number of triggered ones that `asr` is about.
        elsewhere: the share of those that are of neither the source class nor the target; None without a source class
            or such images.
    """

    seed: int
    accuracy: float
    asr: float | None
    robust_accuracy: float | None
    tested: int
    triggered: int
    elsewhere: float | None = None


def training() -> dict[str, Any]:
    """How fresh classifiers are trained, but for the seed, as plain values."""
    return json.loads(json.dumps(vars(FRESH)))


def train_and_attack(
    train: Source,
    test: Source,
    attack: Any | None,
    target: str | None,
    seeds: list[int],
    keep: np.ndarray | None = None,
    folder: Path | None = None,
    quiet: bool = True,
    device: torch.device = CPU,
    classes: Sequence[str] | None = None,
) -> list[Outcome]:
    """Train a fresh classifier for each seed, and show it test images with the trigger.

    It sees all images at `SIZE`; the trigger is applied before. Classes of the clean test set are matched by name.

    Args:
        attack: as it was fitted to the training set; None for none.
        target: name of the attacked class; None for all-to-all, which aims at the next of `classes`.
        keep: which samples of the training set to learn from, bool; all by default.
        folder: keeps the classifiers as `fresh-<seed>.safetensors`; those that are there are not trained again, and an
            interrupted training goes on.
        classes: of the set that was attacked, in its order; those of the training set by default, which may have lost
            some. An attack on a lost class never succeeds.

    Raises: ElixirError: the target is no class of the attacked set, or the test set has no image to measure on.
    """
    attacked = list(train.classes if classes is None else classes)
    if target is not None and target not in attacked:
        raise ElixirError(f"{train.location} has no class {target!r}; it has {', '.join(attacked[:20])}")
    progress = Progress(quiet)
    with tempfile.TemporaryDirectory(prefix="elixir-fresh-") as name:
        scratch = Path(name)
        store, rows = cache_pixels(train, scratch / "train.u8", SIZE)
        labels = train.samples.labels[rows].astype(np.int64)
        chosen = np.arange(len(rows)) if keep is None else np.flatnonzero(keep[rows])
        tests, test_rows = cache_pixels(test, scratch / "test.u8", SIZE)
        names = [test.classes[label] for label in test.samples.labels[test_rows].tolist()]
        following = dict(zip(attacked, attacked[1:] + attacked[:1], strict=True))
        aims = [following.get(name, name) if target is None else target for name in names]
        number: dict[str | None, int] = {name: label for label, name in enumerate(train.classes)}
        truth = np.array([number.get(name, ABSENT) for name in names])
        aimed = np.array([number.get(aim, LOST) for aim in aims])
        victims, only = np.zeros(len(names), bool), None
        if attack is not None:
            victims = (truth >= 0) & (np.array(names, object) != np.array(aims, object))
            only = None if target is None else attack.source_class(attacked, attacked.index(target))
        of_source = np.array([only is None or name == attacked[only] for name in names])[victims]
        if not (truth >= 0).any() or (attack is not None and not of_source.any()):
            other = "a class " if attack is None else "a class other than the target "
            other = other if only is None else f"the class {attacked[only]!r} "
            raise ElixirError(
                f"{test.location} has no readable image of {other}that is in {train.location} too; "
                "give a test set with the same class names"
            )
        others = test_rows[victims].tolist()
        triggered = PixelStore(scratch / "triggered.u8", SIZE)
        with progress.task("triggering", len(others)) as advance:
            for index, row in enumerate(others):
                image = attack.on_picture("trigger", decode(test.read(row)), test.samples[row].id)  # type: ignore[union-attr]
                triggered.write(np.array([index]), resize(image, SIZE).transpose(2, 0, 1)[None])
                advance(1)
        outcomes: list[Outcome] = []
        for seed in seeds:
            settings = replace(FRESH, seed=seed)
            path = (folder or scratch) / f"fresh-{seed}.safetensors"
            net = _trained(store, chosen, labels, train.classes, settings, path, progress, device)
            accuracy = float((_predict(net, tests, len(truth), device) == truth).mean())
            asr, robust, elsewhere = None, None, None
            if attack is not None:
                predicted = _predict(net, triggered, len(others), device)
                hit, right = (predicted == wanted[victims] for wanted in (aimed, truth))
                asr, robust = float(hit[of_source].mean()), float(right[of_source].mean())
                elsewhere = None if of_source.all() else float(hit[~of_source].mean())
            outcomes.append(Outcome(seed, accuracy, asr, robust, len(truth), int(of_source.sum()), elsewhere))
        return outcomes


def _trained(
    store: PixelStore,
    rows: np.ndarray,
    labels: np.ndarray,
    classes: list[str],
    settings: ClassifierTraining,
    path: Path,
    progress: Progress,
    device: torch.device,
) -> Classifier:
    with locked(path.with_suffix(".lock"), wait=True):
        if not path.exists():
            checkpoint = path.with_suffix(".checkpoint")
            with progress.task(f"training {settings.seed}", settings.passes(len(rows))) as advance:
                net = train_classifier(
                    store.read, rows, labels[rows], len(classes), settings, checkpoint, lambda *_: advance(1), device
                )
            save_classifier(net, path, classes)
    return load_trained(path).to(device)


def classified(net: Classifier, store: PixelStore, rows: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Log-probabilities (n, k) and features (n, d) of some records of a store, int64 (n,); float32."""
    logp, features = zip(*(classify(net, store.read(part), device) for part in in_parts(rows, AT_ONCE)), strict=True)
    return torch.cat(logp), torch.cat(features)


def _predict(net: Classifier, store: PixelStore, count: int, device: torch.device) -> np.ndarray:
    return classified(net, store, np.arange(count), device)[0].argmax(1).numpy()
