"""Defences of a poisoned dataset: recipes of elixir's, and baselines."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from elixir.data.open import open_source
from elixir.data.pixels import cache_pixels
from elixir.data.source import Source, Subset
from elixir.errors import ElixirError
from elixir.evaluation.outcome import SIZE, classified
from elixir.evaluation.truth import unpoisoned
from elixir.models.trained import load_trained
from elixir.pipeline import Pipeline
from elixir.randomness import generator, numpy_seeded

COMPONENTS = 10  # principal components of activation clustering


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


@dataclass(frozen=True)
class Cleaned:
    """A training set after a defence.

    Attributes:
        manifest: for every sample of the poisoned dataset `id`, `action`, `new_class` and `poison_score`.
        keep: which samples of `train` to train on; None for all.
        cost: seconds that the defence took, without training on the outcome, and what a recipe says besides.
    """

    train: Source
    manifest: pa.Table
    keep: np.ndarray | None
    cost: dict[str, Any]


def activation_clustering(case: Case) -> np.ndarray:
    """Chen et al. 2018 as in ART: the smaller of two clusters of every class, on ten principal components.

    By construction it flags something of every class, attacked or not. ART draws from numpy's global state; it is
    seeded here. Of a class with fewer than ten images ART cannot make ten components; such a class is skipped.
    """
    from art.defences.detector.poison import ActivationDefence

    features, labels = _features(case)
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

    features, labels = _features(case)
    for label in np.unique(labels):
        features[labels == label] -= features[labels == label].mean(0)
    rate = float(np.mean(case.truth == "poisoned"))
    if not rate:
        return np.zeros(len(labels), bool)
    one_hot = np.eye(labels.max() + 1)[labels]
    defence = SpectralSignatureDefense(_classifier(labels), features, one_hot, expected_pp_poison=rate)
    return ~np.array(defence.detect_poison()[1], bool) & (np.bincount(labels)[labels] > 2)


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
    **DETECTORS,
}
"""Defences that remove samples: from a case to what is removed, bool for every sample."""


def defence_name(pipeline: str, subset: int | None) -> str:
    """For people and for files."""
    name = Path(pipeline).stem
    return f"{name}-{subset}" if subset else name


def described(name: str, settings: dict[str, object], subset: int | None = None) -> dict[str, Any]:
    """All settings of a baseline (none) or a recipe, as in its run.json; an ElixirError if it cannot be used so."""
    if name not in BASELINES:
        recipe = Pipeline.from_recipe(name, settings)
        recipe = recipe.without_dataset() if subset else recipe
        recipe.check()
        return recipe.describe()
    if subset:
        raise ElixirError(f"{name} is no recipe: a subset is for recipes alone")
    if name in DETECTORS and find_spec("art") is None:
        raise ElixirError(f"{name} needs adversarial-robustness-toolbox: pip install 'dataset-elixir[benchmark]'")
    return {}


def defend(name: str, case: Case, settings: dict[str, object], subset: int | None = None) -> Cleaned:
    """Apply a baseline, a shipped recipe or a recipe file, in a folder that is empty or of the same settings.

    With a subset a recipe only looks for poison in so many random samples, with `case.model` as its reference.
    """
    if name not in BASELINES:
        return _by_recipe(Pipeline.from_recipe(name, settings), case, subset)
    start = time.perf_counter()
    removed = BASELINES[name](case)
    known = unpoisoned(case.source)
    manifest = pa.table(
        {
            "id": known.column("id"),
            "output": known.column("output"),
            "action": np.where(removed, "dropped", "kept").tolist(),
            "new_class": np.where(removed, "", known.column("class").to_numpy()).tolist(),
            "poison_score": removed.astype(np.float32),
        }
    )
    return Cleaned(case.source, manifest, ~removed, {"seconds": time.perf_counter() - start})


def _by_recipe(recipe: Pipeline, case: Case, subset: int | None) -> Cleaned:
    src: Any = case.path
    dst, reference, device = case.folder / "clean", None, str(case.device)
    if subset:
        rows = np.sort(generator(case.seed, "subset").permutation(len(case.truth))[:subset])
        recipe, src = recipe.without_dataset(), Subset(case.source, rows.tolist())
        dst, reference = case.folder / "scan", case.model
    result = recipe.run(src, dst, reference=reference, seed=case.seed, device=device, quiet=case.quiet, resume=True)
    cost = {
        "seconds": sum(cost.seconds for cost in result.costs.values()),
        "attacked": {label.name: label.detector for label in result.attacked},
        "nfe_per_sample": result.nfe_per_sample,
        "stages": {stage: vars(cost) for stage, cost in result.costs.items()},
        "config": result.config,
    }
    return Cleaned(case.source if subset else open_source(dst), result.table, None, cost)


def _classifier(labels: np.ndarray) -> Any:
    """As much of an ART classifier as its poison detectors ask for; the features are the data already."""
    classes = int(labels.max()) + 1
    return SimpleNamespace(layer_names=["features"], nb_classes=classes, get_activations=lambda x, layer, batch_size: x)


def _features(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Features of the classifier's last hidden layer, float64 (n, d), and labels int64 (n,)."""
    net = load_trained(case.model).to(case.device)
    store, rows = cache_pixels(case.source, case.folder / "pixels.u8", SIZE)
    if len(rows) < len(case.truth):
        raise ElixirError(f"{case.source.location} has samples that cannot be read; baselines need a sound dataset")
    features = classified(net, store, len(rows), case.device)[1].double().numpy()
    (case.folder / "pixels.u8").unlink()
    return features, case.source.samples.labels.astype(np.int64)
