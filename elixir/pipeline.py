"""Pipelines: named recipes of stages, run over a source into a destination that appears only when it is complete."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

import elixir
from elixir import schema
from elixir.data.carried import starting_decisions
from elixir.data.decision_files import given_decisions
from elixir.data.decisions import HumanDecision, digest
from elixir.data.files.placing import LINKS, Link
from elixir.data.io import RUN_FOLDER, real_path, refuse_bytes, replace_json, replace_text
from elixir.data.labels_only import facts_of_input
from elixir.data.open import open_sink, open_source
from elixir.data.overlap import refuse_overlap
from elixir.data.parallel import cores
from elixir.data.paths import printable, recorded
from elixir.data.source import Kind, Source, describe_classes
from elixir.data.tables.parquet import shard_bytes
from elixir.data.workdir import WorkDir
from elixir.detection.reports import label_reports
from elixir.detection.thresholds import Thresholds
from elixir.engine.execution import execute
from elixir.engine.executors import check_executor, open_executor
from elixir.engine.opening import open_run
from elixir.engine.run import Run
from elixir.engine.stage import Stage
from elixir.errors import ElixirError, nearest, system_error
from elixir.models.device import choose_device
from elixir.models.weights import sha256_of
from elixir.pages.for_people import write_for_people
from elixir.pages.thumbnails import RunPictures
from elixir.progress import Progress
from elixir.recipe import read_recipe
from elixir.registry import find
from elixir.result import Result, read_result, write_label_reports
from elixir.settings import build
from elixir.stages.write import WriteStage
from elixir.training.classifier import ClassifierTraining

POLICIES = ("relabel", "drop", "quarantine")
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass
class Pipeline:
    """Stages in the order in which data meets them; edit `stages` or their settings before `run`.

    Args:
        name: for people.
        stages: in order; the last is `write`.
        purifier: registered name of the purifier that the stages use.
        thresholds: of detection.
        training: what all trainings have in common.

    Example:
        >>> pipeline = Pipeline.from_recipe("dataelixir")
        >>> pipeline["probe"].sigmas
        (0.075, 0.15, 0.26, 0.4)
    """

    name: str
    stages: list[Stage] = field(default_factory=list)
    purifier: str = "prior"
    thresholds: Thresholds = field(default_factory=Thresholds)
    training: ClassifierTraining = field(default_factory=ClassifierTraining)

    @classmethod
    def from_recipe(cls, recipe: str | Path, settings: Mapping[str, object] | None = None) -> Pipeline:
        """Read a recipe.

        Args:
            recipe: name of a shipped recipe, or a TOML file.
            settings: "stage.key", "thresholds.key" or "training.key" -> value, over the recipe's own; or "purifier"
                -> name.

        Raises: ElixirError: no such recipe, not TOML, or an unknown stage, setting or value in it.
        """
        read = read_recipe(recipe)
        settings = dict(settings or {})
        purifier = str(settings.pop("purifier", read.purifier))
        find("purifiers", purifier)
        tables = {**read.stages, **read.common}
        for key, value in settings.items():
            table, _, setting = key.partition(".")
            if table not in tables or not setting:
                hint = nearest(table, tables, f"stages here: {', '.join(read.stages)}")
                raise ElixirError(
                    f"setting {key!r} should be thresholds.KEY, training.KEY, or STAGE.KEY with a stage of recipe "
                    f"{read.name!r}; {hint}"
                )
            tables[table][setting] = value
        stages = [build(find("stages", stage), values) for stage, values in read.stages.items()]
        if own := [key for key in ClassifierTraining.of_stages if key in read.common["training"]]:
            raise ElixirError(f"setting training.{own[0]} is one of each stage that trains: set STAGE.{own[0]}")
        training = build(ClassifierTraining, read.common["training"])
        return cls(read.name, stages, purifier, build(Thresholds, read.common["thresholds"]), training)

    def __getitem__(self, name: str) -> Any:
        """The stage of that name.

        Raises: ElixirError: there is none.
        """
        known = {stage.name: stage for stage in self.stages}
        if name not in known:
            hint = nearest(name, known, f"its stages: {', '.join(known)}")
            raise ElixirError(f"pipeline {self.name!r} has no stage {name!r}; {hint}")
        return known[name]

    def without_dataset(self, labels: bool = False) -> Pipeline:
        """The same pipeline that stops before images are repaired and written; perhaps it writes their new labels."""
        kept = [stage for stage in self.stages if stage.name != "repair"]
        write = {"dataset": False, "labels": labels}
        stages = [replace(stage, **write) if isinstance(stage, WriteStage) else stage for stage in kept]
        return replace(self, stages=stages)

    def describe(self) -> dict[str, Any]:
        """Everything that decides the result, as plain values: what JSON gives back."""
        stages = {stage.name: asdict(stage) for stage in self.stages}  # type: ignore[call-overload]
        described = {"pipeline": self.name, "purifier": self.purifier, "thresholds": vars(self.thresholds)}
        described["training"] = self.training.shared()
        described["backbone_sha256"] = sha256_of(self.training.backbone)
        return json.loads(json.dumps({**described, "stages": stages}))

    def check(self) -> None:
        """Find mistakes before the work begins.

        Raises: ElixirError: settings, or what stages require and provide, do not go together, or `write` is not last.
        """
        self.thresholds.check()
        self.training.check()
        provider: dict[str, str] = {}
        names: list[str] = []
        for stage in self.stages:
            stage.check()
            if stage.name in names:
                raise ElixirError(f"pipeline {self.name!r} has the stage {stage.name!r} twice; a stage runs once")
            names.append(stage.name)
            for name in stage.requires:
                if name not in provider:
                    raise ElixirError(f"{self._lacks(stage, name)} of pipeline {self.name!r}")
            for name in stage.provides:
                if name in provider:
                    raise ElixirError(
                        f"the stages {provider[name]!r} and {stage.name!r} of pipeline {self.name!r} both provide "
                        f"{name!r}; leave one of them out"
                    )
                provider[name] = stage.name
        if not names or names[-1] != "write":
            raise ElixirError(f"pipeline {self.name!r} needs the stage write at its end, which writes what was found")

    def _lacks(self, stage: Stage, name: str) -> str:
        later = [other.name for other in self.stages if name in other.provides]
        remedy = f"move the stage {later[0]!r} before it" if later else f"add one that provides {name!r} before it"
        return f"stage {stage.name!r} requires {name!r}, which no earlier stage provides; {remedy}: the stages"

    def run(
        self,
        src: Any,
        dst: str | Path | None = None,
        *,
        to: str | None = None,
        image: str | None = None,
        label: str | None = None,
        split: str | None = None,
        follow_links: bool = False,
        reference: str | Path | None = None,
        prior: str | Path | None = None,
        device: str = "auto",
        seed: int = 0,
        shard_size: int | str | None = None,
        batch_size: int = 256,
        workers: int | None = None,
        executor: str = "local",
        address: str | None = None,
        policy: str = "relabel",
        link: Link | None = None,
        decisions: str | Path | Iterable[HumanDecision] = (),
        resume: bool = False,
        overwrite: bool = False,
        quiet: bool = True,
    ) -> Result:
        """Run all stages and leave the result at `dst`.

        The work happens in a hidden folder beside `dst`, which is renamed to `dst` at the very end.

        Args:
            src: see `elixir.data.open.open_source`.
            dst: folder to make; must not exist or be empty, unless `overwrite`.
            to: "folder", "list", "hf", "parquet" or "webdataset"; the kind of `src` by default.
            policy: what becomes of poisoned samples: "relabel", "drop" or "quarantine".
            link: "hard" or "symbolic": such links to the files of `src` in place of copies of what is untouched, where
                `src` and the output are both folders or lists.
            decisions: of people, or a file of them; those about an earlier output at `dst` hold too, where the samples
                are the same.

        All other options are those of `elixir.options.RunOptions`.

        Raises: ElixirError: a setting, `src` or `dst` is unusable.
        """
        if policy not in POLICIES:
            raise ElixirError(f"policy {policy!r} is none of {', '.join(POLICIES)}")
        if link is not None and link not in LINKS:
            raise ElixirError(f"link {link!r} is none of {', '.join(LINKS)}")
        if not 0 <= seed < 2**32 or batch_size < 1 or (workers is not None and workers < 1):
            least = f"and batch size {batch_size} and workers {workers} be at least 1"
            raise ElixirError(f"seed {seed} must lie in 0..{2**32 - 1}, {least}")
        kind = None if to is None else _kind(to)
        check_executor(executor, address)
        self.check()
        if dst is None:
            raise ElixirError("give a destination folder: sanitize never changes its input in place")
        dst, seed, chosen = real_path(dst), int(seed), choose_device(device)
        reference, prior = (None if model is None else str(model) for model in (reference, prior))
        source = open_source(src, image=image, label=label, split=split, follow_links=follow_links, quiet=quiet)
        progress = Progress(quiet)
        progress.say(describe_classes(source.classes, source.samples.labels))
        _refuse_single_class(source)
        refuse_bytes(dst)
        refuse_overlap(source, dst)
        work = WorkDir(dst, overwritable=True)
        kind = kind or source.kind
        shards = None if shard_size is None else shard_bytes(shard_size)
        if shards and (kind != "parquet" or not self["write"].dataset):
            raise ElixirError("--shard-size is for parquet output; leave it out, or sanitize with --to parquet")
        config = self.describe() | _given(source, chosen, seed, policy, kind, reference, prior)
        config |= {"shard_bytes": shards, "link": link}
        places = _told_by_contents(config)
        if not self["write"].dataset and (to or link):
            raise ElixirError("--to, --link and --symlink are about images, of which none are written: leave them out")
        given = given_decisions(decisions, source.classes)
        with work.alone():
            decided = starting_decisions(dst, source, given)
            if decided:
                config["decisions"] = digest(decided.values())
            if resume and work.finished(config, {"device", *places}):
                work.discard()
                return read_result(dst)
            work.prepare(config, resume, overwrite, places)
            if self["write"].dataset:
                with work.trial() as folder:
                    open_sink(kind, folder, source, shards, link)
            opened_on = partial(
                open_run,
                load_purifier=find("purifiers", self.purifier),
                prior=prior,
                reference=reference,
                folder=work.path,
                source=source,
                seed=seed,
                batch_size=batch_size,
                policy=policy,
                to=kind,
                shard_bytes=shards,
                link=link,
                thresholds=self.thresholds,
                training=self.training,
                decisions=decided,
            )
            with open_executor(executor, opened_on, chosen, address, workers, quiet) as at_work:
                run = opened_on(chosen, workers=workers or cores(), executor=at_work, progress=progress)
                work.begin(config)
                try:
                    self._execute(run)
                except ElixirError as error:
                    if not _worth_keeping(error, run, [stage.name for stage in self.stages]):
                        work.discard()
                    raise
            _write_evidence(run, config, work)
            if self["write"].labels:
                facts = facts_of_input(src, image=image, label=label, split=split, follow_links=follow_links)
                replace_json(work.output / RUN_FOLDER / "restore.json", facts)
            work.publish(overwrite)
            return read_result(dst)

    def _execute(self, run: Run) -> None:
        with run.progress.task("all stages", sum(stage.effort for stage in self.stages)) as advance:
            for stage in self.stages:
                execute(run, stage)
                advance(stage.effort)


def _worth_keeping(error: ElixirError, run: Run, stages: list[str]) -> bool:
    """Whether to keep the work of a run that has failed, to go on with it.

    It is not if no stage but `index` has finished, unless the system was what failed, such as a disk that is full: the
    input or a setting was refused, and what would go on is a run with another one.
    """
    return system_error(error) is not None or any(run.has(stage) for stage in stages if stage != "index")


def _kind(name: str) -> Kind:
    for kind in KINDS:
        if name == kind:
            return kind
    raise ElixirError(f"output kind {name!r} is none of {', '.join(KINDS)}")


def _refuse_single_class(source: Source) -> None:
    """Raise an ElixirError where no two labels have samples: nothing can be told apart then."""
    used = [label for label in np.unique(source.samples.labels).tolist() if label >= 0]
    if len(used) < 2:
        named = f"the single class {printable(source.classes[used[0]])}" if used else "no class with samples"
        raise ElixirError(f"{source.location} has {named}; check that its labels are read as they are meant")


def _given(
    source: Source, device: torch.device, seed: int, policy: str, to: str, reference: str | None, prior: str | None
) -> dict[str, Any]:
    """All that decides the result beside the pipeline, as plain values."""
    return {
        "version": elixir.__version__,
        "source": recorded(source.location),
        "kind": source.kind,
        "fingerprint": source.fingerprint(),
        "image": source.image,
        "label": source.label,
        "split": source.split,
        "device": device.type,
        "seed": seed,
        "policy": policy,
        "to": to,
        "reference": reference and recorded(reference),
        "reference_sha256": reference and sha256_of(reference),
        "prior": prior and recorded(prior),
        "prior_sha256": sha256_of(prior),
    }


def _told_by_contents(config: Mapping[str, Any]) -> set[str]:
    """Which settings are places of something whose contents are among the settings too: it may lie elsewhere now."""
    return {"source", *(name for name in ("reference", "prior") if config[f"{name}_sha256"])}


def _write_evidence(run: Run, config: dict[str, Any], work: WorkDir) -> None:
    """Complete the output by what tells of the run."""
    work.sign(config)
    evidence = work.output / RUN_FOLDER
    (evidence / "models").mkdir(exist_ok=True)
    learned = [file for file in (run.triggers_file, run.calibration_file) if file.exists()]
    for file in (*run.models.handed_out(), *learned):
        shutil.copyfile(file, evidence / "models" / file.name)
    replace_text(evidence / "findings.json", json.dumps({"schema": schema.FINDINGS, **run.facts}, indent=2))
    write_label_reports(evidence / "labels.parquet", label_reports(run.facts))
    costs = {name: asdict(cost) for name, cost in run.meter.costs.items()}
    replace_text(evidence / "timings.json", json.dumps(costs, indent=2))
    result = read_result(work.output, work.dst)
    write_for_people(result, work.output, RunPictures(run), run.triggers)
