"""One trial of an experiment: a dataset, an attack at a rate and a defence, from poisoning to the last score."""

import shutil
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from elixir.data.io import read_json, replace_json
from elixir.data.open import open_source
from elixir.data.paths import recorded
from elixir.data.source import Source, find_class
from elixir.data.workdir import locked, refuse_other_settings
from elixir.errors import ElixirError
from elixir.evaluation.baselines import BASELINES, DETECTORS, UNDEFENDED, UNPOISONED, Case
from elixir.evaluation.defences import Cleaned, defence_name, defend, described
from elixir.evaluation.outcome import train_and_attack, training
from elixir.evaluation.poisoning import UNATTACKED, Poisoned, Poisoning, digest
from elixir.evaluation.quality import repair_quality, trigger_quality
from elixir.evaluation.results import agree
from elixir.evaluation.truth import attack_of, last_attack, read_truth, recovery, unpoisoned
from elixir.measurement.machine import machine
from elixir.registry import find

TRUTH = "poisoned.truth.parquet"
ORIGIN = "poisoned.json"
DEFENCE = "defence.json"
PATHS = ("train", "test", "pipeline")
"""Entries of a record that are paths. They may differ: digests and settings say what was there."""


@dataclass(frozen=True)
class Experiment:
    """What all trials have in common.

    Attributes:
        target: name of the attacked class, or its number; None for all-to-all.
        seeds: number of fresh classifiers trained on each outcome.
        seed: of the attack's choice of samples and of the defence.
        subset: let recipes look at so many samples only, with the undefended classifier as their reference; None for a
            whole run.
        settings: of the recipes, "stage.key" -> value.
        folder: where the results go, one JSON file a trial; datasets and classifiers lie in `folder`/work.
    """

    train: str
    test: str
    target: str | None
    seeds: int
    seed: int
    subset: int | None
    settings: dict[str, object]
    device: torch.device
    folder: Path
    quiet: bool

    def result_path(self, poisoning: Poisoning, pipeline: str) -> Path:
        """The file with the result of one trial."""
        return self.folder / f"{poisoning.name}-{defence_name(pipeline, self.subset)}.json"

    def run(self, poisoning: Poisoning, pipeline: str) -> dict[str, Any]:
        """Run a trial, or read its result if it is there; an interrupted one goes on where it was.

        A trial with fewer classifiers than there are to be is completed, as long as `folder`/work is there. The result
        has settings, `poisoned_sha256` (see `digest`), `trigger`, `detection`, `repair`, `outcomes`, `cost` and
        `machine`; a subset's has no repair and no outcomes.

        Raises: ElixirError: something is unusable, or the file is of other settings, images or version of the recipe.
        """
        recipe = described(pipeline, self.settings, self.subset)
        train, test = open_source(self.train), open_source(self.test, usual="test")
        target = None if self.target is None else train.classes[find_class(train, self.target)]
        return replace(self, target=target)._run(poisoning, pipeline, recipe, train, test)

    def _run(
        self, poisoning: Poisoning, pipeline: str, recipe: dict[str, Any], before: Source, test: Source
    ) -> dict[str, Any]:
        path = self.result_path(poisoning, pipeline)
        settings = self._origin(poisoning) | {
            "test": recorded(self.test),
            "test_sha256": self._digests["test"],
            "pipeline": recorded(pipeline),
            "subset": self.subset,
            "settings": {} if pipeline in BASELINES else self.settings,
        }
        if path.exists():
            known = _read_same(path, settings, "remove it, and run the same command again")
            if not recipe.items() <= known["cost"].get("config", {}).items():
                raise ElixirError(f"{path} is of another version of {pipeline}; choose another output folder")
            if not agree(known.get("training", {}), training()):
                raise ElixirError(f"{path} is of classifiers trained in another way; choose another output folder")
            if self.subset or len(known["outcomes"]) >= self.seeds:
                return known
        needs_reference_model = pipeline in DETECTORS or bool(self.subset)
        with self._alone_with(poisoning):
            work_dir = self._work_dir(poisoning)
            poisoned = self._poisoned(poisoning, work_dir, before)
            folder, undefended = work_dir / defence_name(pipeline, self.subset), work_dir / UNDEFENDED
            _claim(folder, DEFENCE, _trained_on(recipe))
            if needs_reference_model:
                _claim(undefended, DEFENCE, _trained_on({}))
        source, truth = poisoned.source, poisoned.truth
        if self.subset and self.subset > len(source.samples):
            raise ElixirError(f"a subset of {self.subset} samples is more than the {len(source.samples)} there are")
        if needs_reference_model:
            train_and_attack(source, test, None, self.target, [self.seed], None, undefended, self.quiet, self.device)
        model = undefended / f"fresh-{self.seed}.safetensors"
        case = Case(str(poisoned.path), source, poisoned.kinds(), model, folder, self.seed, self.device, self.quiet)
        quality = trigger_quality(before, source, poisoned.of_this_attack)
        cleaned = defend(pipeline, case, self.settings, self.subset)
        detection = recovery(cleaned.manifest, truth)
        measured = {"repair": None, "outcomes": [], "cost": cleaned.cost}
        if not self.subset:
            measured = self._measured(pipeline, folder, cleaned, before, test, poisoned)
        result = {
            **settings,
            "samples": len(source.samples),
            "poisoned_sha256": digest(source),
            "trigger": quality,
            "detection": vars(detection),
            **measured,
            "machine": machine(self.device),
        }
        replace_json(path, result)
        return result

    def _measured(
        self, pipeline: str, folder: Path, cleaned: Cleaned, before: Source, test: Source, poisoned: Poisoned
    ) -> dict[str, Any]:
        """Quality of the images after a defence, and what classifiers learn from them."""
        start = time.perf_counter()
        train, keep = cleaned.train, cleaned.keep
        if pipeline == UNPOISONED:
            unattacked = Poisoning(UNATTACKED)
            with self._alone_with(unattacked):
                train, keep, folder = before, None, self._work_dir(unattacked) / UNDEFENDED
                _claim(folder, DEFENCE, _trained_on({}))
        seeds = list(range(self.seed, self.seed + self.seeds))
        outcomes = train_and_attack(
            train, test, poisoned.attack, self.target, seeds, keep, folder, self.quiet, self.device, before.classes
        )
        quality = repair_quality(before, poisoned.source, cleaned.train, cleaned.manifest, poisoned.of_this_attack)
        return {
            "repair": quality,
            "outcomes": [vars(outcome) for outcome in outcomes],
            "training": training(),
            "cost": cleaned.cost | {"evaluation_seconds": time.perf_counter() - start},
        }

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {"train": digest(open_source(self.train)), "test": digest(open_source(self.test, usual="test"))}

    def _origin(self, poisoning: Poisoning) -> dict[str, Any]:
        """All that a poisoned dataset comes from."""
        return {
            "train": recorded(self.train),
            "train_sha256": self._digests["train"],
            "target": self.target,
            "attack": poisoning.attack,
            "attack_settings": dict(poisoning.settings),
            "rate": poisoning.rate,
            "seed": self.seed,
        }

    def _alone_with(self, poisoning: Poisoning) -> AbstractContextManager[None]:
        """Keep other processes away from the folder of a poisoned dataset."""
        return locked(self.folder / "work" / f"{poisoning.name}.lock", wait=True)

    def _work_dir(self, poisoning: Poisoning) -> Path:
        """The folder of a poisoned dataset and all that is made of it, empty if the poisoning has been interrupted."""
        folder = self.folder / "work" / poisoning.name
        if poisoning.attack != UNATTACKED and not (folder / "poisoned").exists():
            shutil.rmtree(folder, ignore_errors=True)
        _claim(folder, ORIGIN, self._origin(poisoning))
        return folder

    def _poisoned(self, poisoning: Poisoning, work_dir: Path, train: Source) -> Poisoned:
        if poisoning.attack == UNATTACKED:
            known = unpoisoned(train)
            return Poisoned(self.train, train, known, known, None)
        out, truth = work_dir / "poisoned", work_dir / TRUTH
        if not out.exists():
            attack = find("attacks", poisoning.attack).configure(poisoning.settings)
            attack.poison_dataset(train, out, self.target, rate=poisoning.rate, seed=self.seed, quiet=self.quiet)
        if not truth.exists():
            raise ElixirError(f"{truth} is missing; remove {work_dir} to poison the dataset again")
        known = read_truth(truth)
        return Poisoned(out, open_source(out), known, last_attack(known), attack_of(truth)[0])


def _trained_on(recipe: dict[str, Any]) -> dict[str, Any]:
    """All that decides what fresh classifiers learn from a poisoned dataset."""
    return {"recipe": recipe, "training": training()}


def _claim(folder: Path, note: str, settings: dict[str, Any]) -> None:
    """Make a folder with a note of its settings, or refuse one that has another note or none."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        replace_json(folder / note, settings)
    _read_same(folder / note, settings, f"remove {folder}, and run the same command again")


def _read_same(path: Path, settings: dict[str, Any], remedy: str) -> dict[str, Any]:
    """Read a JSON file that holds these settings, and perhaps results too; another one is refused."""
    known = read_json(path, remedy)
    same = {key: value for key, value in known.items() if key in settings}
    message = f"{path} belongs to another experiment"
    refuse_other_settings(same, settings, message, "choose another output folder", but=PATHS)
    return known
