"""The networks and pixels of a run, as detection asks for them."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from elixir.data.records import Records
from elixir.detection.probe import LogProbabilities
from elixir.engine.memory import give_back
from elixir.engine.models import CLEAN, REFERENCE
from elixir.engine.run import Run
from elixir.engine.training import Training
from elixir.randomness import Draw, generator
from elixir.training.classifier import ClassifierTraining

HOLDOUT_SEED, RECOGNIZER_SEED, HALF_SEED = 200, 300, 400  # added to the run's seed


class RunProbe:
    """A `GroupProbe` that asks the networks of a run whose stages up to crossfit have finished.

    Args:
        training: of the held-out model or of each recognizer, but for its seed.
    """

    def __init__(self, run: Run, training: ClassifierTraining) -> None:
        self._run = run
        self._training = training
        self.pixels = run.pixels
        self.purified = run.purified

    def transfer(self, label: int, change: Tensor) -> float:
        give_back()  # what a detector has taken to find the change
        return transfer(self._run, label, carriers(self._run, label, Draw.GROUP_CARRIERS), change)

    def holdout_model(self, seen: np.ndarray, number: int) -> LogProbabilities:
        run, name = self._run, f"holdout-{number}"
        self._train(name, seen, HOLDOUT_SEED + number, self._training.least_steps)
        count, learned = (np.bincount(labels, minlength=len(run.classes)) for labels in (run.labels, run.labels[seen]))
        shift = np.log(np.maximum(count, 1) / np.maximum(learned, 1)).astype(np.float32)
        return lambda indices: _log_probabilities(run, name, indices, shift)

    def half_model(self, seen: np.ndarray, number: int) -> LogProbabilities:
        run, name = self._run, f"half-{number}"
        self._train(name, seen, HALF_SEED + number, self._training.least_steps // 2)
        return lambda indices: _log_probabilities(run, name, indices, np.zeros(len(run.classes), np.float32))

    def _train(self, name: str, seen: np.ndarray, seed: int, least_steps: int) -> None:
        run = self._run
        settings = replace(self._training, seed=run.seed + seed, least_steps=least_steps)
        run.train(Training(name, seen, run.labels[seen], settings))

    def recognizer_log_odds(self, number: int, groups: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        run = self._run
        if not groups:
            return {}
        taught = run.labels.copy()
        own = {label: len(run.classes) + place for place, label in enumerate(groups)}
        for label, group in groups.items():
            taught[group] = own[label]
        initial = None if run.models.own_reference else REFERENCE
        classes = [*run.classes, *(f"flagged {run.classes[label]}" for label in groups)]
        fold = generator(run.seed, Draw.RECOGNIZER, number).permutation(len(run)) % 2
        trainings = []
        for half in range(2):
            seen = np.flatnonzero(fold != half)
            settings = replace(self._training, seed=run.seed + RECOGNIZER_SEED + 2 * number + half)
            name = f"recognizer-{number}-{half}"
            trainings.append(Training(name, seen, taught[seen], settings, initial=initial, classes=classes))
        run.train(*trainings)
        log_odds = {label: np.zeros(len(run)) for label in groups}
        for half, training in enumerate(trainings):
            for label in groups:
                unseen = np.flatnonzero((run.labels == label) & (fold == half))
                for batch in run.batches(unseen):
                    logp, _ = run.models.classify(training.name, run.pixels.read(batch))
                    log_odds[label][batch] = logp[:, own[label]] - logp[:, label]
        return log_odds


def carriers(run: Run, label: int, draw: Draw) -> np.ndarray:
    """Some samples of other labels, int64, `carriers` at most."""
    others = np.flatnonzero(run.labels != label)
    return generator(run.seed, draw, label).permutation(others)[: run.thresholds.carriers]


def transfer(run: Run, label: int, indices: np.ndarray, change: Tensor) -> float:
    """Mean probability of a label, by the reference model, for images with a change added; 0 without images.

    The change is (3, s, s) in grey levels.
    """
    if not len(indices):
        return 0.0
    received = (run.pixels.read(indices).float() + change.float()).clamp(0, 255) / 255
    logp, _ = run.models.classify(REFERENCE, received)
    return float(np.exp(logp[:, label]).mean())


def _log_probabilities(run: Run, model: str, indices: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Log-probability of each label by a model plus a shift (k,), float32 (n, k), for images; n may be 0.

    They are mapped from a file without a name, as there may be many samples and labels.
    """
    path, count = run.folder / f"{model}.logp", 0
    with Records(path, (len(run.classes),), np.float32) as records:
        path.unlink()
        for batch in run.batches(indices):
            logp, _ = run.models.classify(model, run.pixels.read(batch))
            records.write(np.arange(count, count + len(batch)), logp + shift)
            count += len(batch)
        return records.mapped()


def clean_probabilities(run: Run, indices: np.ndarray, triggers: Mapping[int, Tensor]) -> np.ndarray:
    """Probability of each label by the clean model for images minus the trigger of their given label.

    It reads the mirror images too, if it has learned from mirrored ones.

    Args:
        triggers: given label -> float32 (3, s, s) in [0,1] pixel units; none for a label that is missing.

    Returns:
        float32 (n, k).
    """
    found = [np.empty((0, len(run.classes)), np.float32)]
    for batch in run.batches(indices):
        images = run.pixels.read(batch).float() / 255
        for place, label in enumerate(run.labels[batch].tolist()):
            images[place] -= triggers.get(label, torch.zeros(()))
        images = images.clamp(0, 1)
        views = [images, images.flip(-1)] if run.facts.get("mirrored") else [images]
        found.append(np.mean([np.exp(run.models.classify(CLEAN, view)[0]) for view in views], axis=0))
    return np.concatenate(found)
