"""How well a sanitization did: against the truth that `elixir poison` wrote, and by training on the outcome."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sklearn.metrics import roc_auc_score

from elixir.data.cache import cache_pixels
from elixir.data.pixels import PixelStore
from elixir.data.source import Source
from elixir.errors import ElixirError
from elixir.models.inference import classify
from elixir.models.train_classifier import ClassifierTraining, train_classifier
from elixir.progress import Progress

FRESH = ClassifierTraining(epochs=10)


@dataclass(frozen=True)
class Recovery:
    """Shares over the training samples, in [0,1]; cover samples count as neither.

    Attributes:
        poisoned: number of poisoned samples.
        clean: number of clean ones.
        found: share of poisoned samples that were changed or set aside (TPR).
        recovered: share of poisoned samples with their true label in the output.
        removed: share of poisoned samples that are not in the output.
        disturbed: share of clean samples changed in any way (FPR).
        auc: area under the ROC curve of the suspicion, poisoned against clean; None without one of them.
    """

    poisoned: int
    clean: int
    found: float
    recovered: float
    removed: float
    disturbed: float
    auc: float | None


def recovery(manifest: pa.Table, truth: pa.Table) -> Recovery:
    """Compare a manifest with the truth beside the poisoned dataset.

    Args:
        manifest: `Result.table`.
        truth: with columns `output` (id in the poisoned dataset), `truth` and `class` (true label).

    Raises:
        ElixirError: the truth belongs to another dataset.
    """
    known = {
        output: (what, name)
        for output, what, name in zip(
            *(truth.column(key).to_pylist() for key in ("output", "truth", "class")), strict=True
        )
    }
    ids, actions, new_classes = (manifest.column(key).to_pylist() for key in ("id", "action", "new_class"))
    if not set(ids) <= known.keys():
        raise ElixirError("the truth belongs to another dataset: some samples of the manifest are not in it")
    what = np.array([known[id][0] for id in ids], object)
    changed = np.array([action != "kept" for action in actions])
    right = np.array([new == known[id][1] for id, new in zip(ids, new_classes, strict=True)])
    gone = np.array([not new for new in new_classes])
    poisoned, clean = what == "poisoned", what == "clean"
    suspicion = np.nan_to_num(manifest.column("suspicion").to_numpy())
    judged = poisoned | clean
    both = poisoned.any() and clean.any()

    def share(mask: np.ndarray, of: np.ndarray) -> float:
        return float(mask[of].mean()) if of.any() else 0.0

    return Recovery(
        int(poisoned.sum()),
        int(clean.sum()),
        share(changed, poisoned),
        share(right, poisoned),
        share(gone, poisoned),
        share(changed, clean),
        float(roc_auc_score(poisoned[judged], suspicion[judged])) if both else None,
    )


def read_truth(path: Path) -> pa.Table:
    """The truth that `elixir poison` wrote.

    Raises:
        ElixirError: no such file, or another kind of file.
    """
    try:
        return pq.read_table(path, columns=["output", "truth", "class"])
    except (OSError, pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise ElixirError(
            f"{path} is not the truth file that `elixir poison` writes beside its output: {error}"
        ) from error


def attack_of(path: Path) -> tuple[str, dict[str, Any], str]:
    """Name, settings and target class of the attack whose truth this is.

    Raises:
        ElixirError: no such file, or another kind of file.
    """
    record = json.loads((read_truth(path).schema.metadata or {}).get(b"elixir", b"{}"))
    try:
        return record["attack"], record["settings"], record["target"]
    except KeyError:
        raise ElixirError(f"{path} does not say which attack it is about: give --attack and --target") from None


@dataclass(frozen=True)
class Outcome:
    """A fresh classifier on the clean and on the triggered test set, shares in [0,1].

    Attributes:
        seed: of its training.
        accuracy: ACC, on the clean test set.
        asr: share of triggered test images of other classes that it takes for the target.
        robust_accuracy: RA, share of the same images that it gets right.
    """

    seed: int
    accuracy: float
    asr: float
    robust_accuracy: float


def train_and_attack(
    train: Source, test: Source, attack: Any, target: str, seeds: list[int], size: int = 32, quiet: bool = True
) -> list[Outcome]:
    """Train a fresh classifier for each seed and attack it with the trigger.

    Args:
        train: the training set.
        test: the clean test set; its classes are matched by name.
        attack: with `poison(images uint8 (n, h, w, c), ids)`.
        target: name of the attacked class.
        seeds: of the trainings.
        size: side in pixels at which images are read.
        quiet: no progress.
    """
    progress = Progress(quiet)
    with tempfile.TemporaryDirectory(prefix="elixir-score-") as name:
        folder = Path(name)
        store, rows = cache_pixels(train, folder / "train.u8", size)
        labels = np.array([train.samples[int(row)].label for row in rows], np.int64)
        test_store, test_rows = cache_pixels(test, folder / "test.u8", size)
        names = [test.classes[test.samples[int(row)].label] for row in test_rows]
        truth = np.array([train.classes.index(name) if name in train.classes else -1 for name in names])
        triggered = PixelStore(folder / "triggered.u8", size)
        for start in range(0, len(test_rows), 1024):
            images = test_store.read(np.arange(start, min(start + 1024, len(test_rows)))).permute(0, 2, 3, 1).numpy()
            ids = [test.samples[int(row)].id for row in test_rows[start : start + 1024]]
            triggered.append(start, attack.poison(images, ids).transpose(0, 3, 1, 2))
        outcomes: list[Outcome] = []
        for seed in seeds:
            settings = replace(FRESH, seed=seed)
            with progress.task(f"training {seed}", settings.passes(len(rows))) as advance:
                net = train_classifier(
                    store.read,
                    np.arange(len(rows)),
                    labels,
                    len(train.classes),
                    settings,
                    folder / "checkpoint",
                    lambda epoch, accuracy, advance=advance: advance(1),
                )
            aimed = train.classes.index(target)
            clean = _predict(net, test_store, len(truth))
            fooled = _predict(net, triggered, len(truth))[truth != aimed]
            others = truth[truth != aimed]
            outcomes.append(
                Outcome(
                    seed,
                    float((clean == truth).mean()),
                    float((fooled == aimed).mean()),
                    float((fooled == others).mean()),
                )
            )
        return outcomes


def _predict(net: Any, store: PixelStore, count: int) -> np.ndarray:
    parts = [store.read(np.arange(start, min(start + 1024, count))) for start in range(0, count, 1024)]
    return np.concatenate([classify(net, part, torch.device("cpu"))[0].argmax(1).numpy() for part in parts])
