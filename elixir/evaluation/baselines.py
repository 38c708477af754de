"""Baselines: what other people would do with a poisoned dataset, which is to remove samples from it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import NearestNeighbors

from elixir.data.pixels import PixelStore, cache_pixels
from elixir.data.source import Source
from elixir.errors import ElixirError
from elixir.evaluation.outcome import FRESH, SIZE, classified
from elixir.models.backbone import FEATURES
from elixir.models.trained import load_trained
from elixir.progress import Progress
from elixir.randomness import numpy_seeded
from elixir.training.classifier import train_classifier

COMPONENTS = 10  # principal components of activation clustering
FOLDS = 5  # of cleanlab's cross-validation, as in its own tutorials
NEIGHBOURS = 10  # that vote
PIXELS = "pixels.u8"  # what a baseline may leave in its folder


@dataclass(frozen=True)
class Case:
    """A poisoned dataset, and what a defence that is no recipe is allowed to know.

    Attributes:
        truth: "clean", "poisoned" or "cover" for every sample.
        model: classifier trained on it, for detectors and subsets; see `elixir.models.classifier.save_classifier`.
        folder: for what the defence writes.
    """

    path: str
    source: Source
    truth: np.ndarray
    model: Path
    folder: Path
    seed: int
    device: torch.device
    quiet: bool


def activation_clustering(case: Case) -> np.ndarray:
    """Chen et al. 2018 as in ART: the smaller of two clusters of every class, on ten principal components.

    By construction it flags something of every class, attacked or not. ART draws from numpy's global state; it is
    seeded here. Of a class with fewer than ten images ART cannot make ten components; such a class is skipped.
    """
    from art.defences.detector.poison import ActivationDefence

    features, labels = _features(case, case.model)
    large = np.bincount(labels)[labels] >= COMPONENTS
    removed = np.zeros(len(labels), bool)
    if large.any():
        features, labels = features[large], np.unique(labels[large], return_inverse=True)[1]
        defence = ActivationDefence(_classifier(labels), features, np.eye(labels.max() + 1)[labels])
        with numpy_seeded(case.seed):
            removed[large] = ~np.array(defence.detect_poison(nb_clusters=2, nb_dims=COMPONENTS, reduce="PCA")[1], bool)
    return removed


def spectral_signatures(case: Case) -> np.ndarray:
    """Tran et al. 2018 as in ART: 1.5 times the true poison rate of every class, by the first singular vector.

    ART projects features that are not centred; they are centred by class before it sees them, as in the paper. Of a
    class with one or two images it would remove all, and of a set without poison some; both are skipped.
    """
    from art.defences.detector.poison import SpectralSignatureDefense

    features, labels = _features(case, case.model)
    for label in np.unique(labels):
        features[labels == label] -= features[labels == label].mean(0)
    rate = float(np.mean(case.truth == "poisoned"))
    if not rate:
        return np.zeros(len(labels), bool)
    one_hot = np.eye(labels.max() + 1)[labels]
    defence = SpectralSignatureDefense(_classifier(labels), features, one_hot, expected_pp_poison=rate)
    return ~np.array(defence.detect_poison()[1], bool) & (np.bincount(labels)[labels] > 2)


def cleanlab(case: Case) -> np.ndarray:
    """Northcutt et al. 2021 as in cleanlab, with its own defaults: labels that held-out probabilities speak against.

    The probabilities are those of five classifiers, trained as fresh ones are on the raw images; each reads a fifth.
    Classes with fewer images than folds are skipped.
    """
    from cleanlab.filter import find_label_issues

    store, labels = _pixels(case)
    rows = np.flatnonzero(np.bincount(labels)[labels] >= FOLDS)
    removed = np.zeros(len(labels), bool)
    taught = np.unique(labels[rows], return_inverse=True)[1]
    classes = taught.max(initial=-1) + 1
    if classes < 2:
        return removed
    probability = np.empty((len(rows), classes), np.float32)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=case.seed).split(rows, taught)
    with Progress(case.quiet).task("cross-validating", FOLDS) as advance:
        for number, (seen, unseen) in enumerate(folds):
            settings, checkpoint = replace(FRESH, seed=case.seed + number), case.folder / f"fold-{number}.checkpoint"
            net = train_classifier(
                store.read, rows[seen], taught[seen], classes, settings, checkpoint, device=case.device
            )
            probability[unseen] = classified(net, store, rows[unseen], case.device)[0].exp()
            advance(1)
    removed[rows] = find_label_issues(taught, probability, n_jobs=1)
    return removed


def nearest_neighbours(case: Case) -> np.ndarray:
    """Samples whose label is not the one that most of their ten nearest neighbours have, in the shipped features."""
    features, labels = _features(case, FEATURES)
    count = min(NEIGHBOURS + 1, len(labels))  # each is its own nearest one
    near = NearestNeighbors(n_neighbors=count, metric="cosine").fit(features).kneighbors(return_distance=False)
    votes = np.stack([(labels[near] == label).sum(1) for label in range(labels.max() + 1)], 1)
    return votes.argmax(1) != labels


DETECTORS: dict[str, Callable[[Case], np.ndarray]] = {
    "activation-clustering": activation_clustering,
    "spectral-signatures": spectral_signatures,
}
"""Baselines that look at a classifier trained on the poisoned dataset."""

UNDEFENDED = "none"
UNPOISONED = "unpoisoned"
"""Not a defence: the set before it was poisoned, for what a trigger does to a classifier that has never met it."""

BASELINES: dict[str, Callable[[Case], np.ndarray]] = {
    UNDEFENDED: lambda case: np.zeros(len(case.truth), bool),
    UNPOISONED: lambda case: np.zeros(len(case.truth), bool),
    "oracle": lambda case: case.truth == "poisoned",
    "cleanlab": cleanlab,
    "nearest-neighbours": nearest_neighbours,
    **DETECTORS,
}
"""Defences that remove samples: from a case to what is removed, bool for every sample."""

NEEDS = {"activation-clustering": "art", "spectral-signatures": "art", "cleanlab": "cleanlab"}
"""Modules that do not come with Elixir, by the baseline that needs them."""


def _classifier(labels: np.ndarray) -> Any:
    """As much of an ART classifier as its poison detectors ask for; the features are the data already."""
    classes = int(labels.max()) + 1
    return SimpleNamespace(layer_names=["features"], nb_classes=classes, get_activations=lambda x, layer, batch_size: x)


def _features(case: Case, model: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features of a classifier's last hidden layer, float64 (n, d), and labels int64 (n,)."""
    net = load_trained(model).to(case.device)
    store, labels = _pixels(case)
    features = classified(net, store, np.arange(len(labels)), case.device)[1].double().numpy()
    return features, labels


def _pixels(case: Case) -> tuple[PixelStore, np.ndarray]:
    """All images as fresh classifiers see them, and labels int64 (n,)."""
    store, rows = cache_pixels(case.source, case.folder / PIXELS, SIZE)
    if len(rows) < len(case.truth):
        raise ElixirError(f"{case.source.location} has samples that cannot be read; baselines need a sound dataset")
    return store, case.source.samples.labels.astype(np.int64)
