"""Applies a defence, a recipe or a baseline, to a poisoned dataset."""

import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from elixir.data.open import open_source
from elixir.data.source import Source, Subset
from elixir.errors import ElixirError
from elixir.evaluation.baselines import BASELINES, NEEDS, PIXELS, Case
from elixir.evaluation.truth import unpoisoned
from elixir.pipeline import Pipeline
from elixir.randomness import generator


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
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        raise ElixirError(f"{name} needs a package that is not installed: pip install 'dataset-elixir[benchmark]'")
    return {}


def defend(name: str, case: Case, settings: dict[str, object], subset: int | None = None) -> Cleaned:
    """Apply a baseline, a shipped recipe or a recipe file, in a folder that is empty or of the same settings.

    With a subset a recipe only looks for poison in so many random samples, with `case.model` as its reference.
    """
    if name not in BASELINES:
        return _by_recipe(Pipeline.from_recipe(name, settings), case, subset)
    start = time.perf_counter()
    removed = BASELINES[name](case)
    (case.folder / PIXELS).unlink(missing_ok=True)
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
