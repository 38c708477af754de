"""Robustness of a classifier behind purifiers: attack, purify, classify, with the files that are left of it."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elixir.data.io import writing
from elixir.data.source import Sample, Source
from elixir.errors import ElixirError
from elixir.measurement.measurement_folder import MeasurementFolder, fitting, recorded_model
from elixir.measurement.results_log import ResultsLog
from elixir.models.device import wait_for
from elixir.models.weights import read_weights, sha256_of, write_weights
from elixir.progress import Progress
from elixir.randomness import device_generator
from elixir.registry import find
from elixir.robustness import ATTACKS
from elixir.robustness.attacks import budget, craft
from elixir.robustness.defended import Defended
from elixir.robustness.report import CLEAN, MODES, UNDEFENDED, Job, draw_robustness, summarize

CPU_IMAGES = 64
CUDA_IMAGES = 128
"""Images of 32 x 32 pixels that go through the networks together."""
RESIDUAL_DIGITS = 6


@dataclass(frozen=True)
class Settings:
    """What the figures depend on, besides the images.

    Attributes:
        classifier: for `load_classifier`.
        purifiers: registered names, each alone or with its weights as "name=weights"; "none" for no purifier at all.
        attacks: names out of `ATTACKS`.
        eps: budgets as people write them, such as "8/255".
        adaptive: attack every purifier with its classifier, too, rather than the classifier alone.
        sigma: noise level of the purifiers that need one, in [0,1] pixel units; those that work without get none.
        draws: noise draws that an adaptive attack averages over, where the purifier is random.
        count: number of images, evenly spread over the test set; all where it has fewer.
    """

    classifier: str
    purifiers: tuple[str, ...] = (UNDEFENDED, "jpeg", "median", "prior", "consistency", "impure")
    attacks: tuple[str, ...] = tuple(ATTACKS)
    eps: tuple[str, ...] = ("4/255", "8/255", "16/255")
    adaptive: bool = False
    sigma: float = 0.1
    draws: int = 4
    count: int = 500
    seed: int = 0


@dataclass(frozen=True)
class _Block:
    """Images of one size that go through the networks together."""

    number: int
    first: int
    ids: list[str]
    labels: Tensor
    images: Tensor


def measure_robustness(
    source: Source, out: Path, settings: Settings, device: torch.device, quiet: bool = False
) -> dict[str, Any]:
    """Attack images of a test set and classify what purifiers make of them; returns `MeasurementFolder.read`.

    A static attack knows the classifier alone; what it makes is kept in `adversarial/` and given to all purifiers. An
    adaptive one takes its gradient through the purifier: see `Defended.log_probs`. Writes `rows.parquet`, `static.svg`,
    `adaptive.svg`, `summary.json` and `timings.json`. Goes on at the block of images of an attack where it was
    interrupted. On a CPU all files but the timings are the same however often that was; the gradients of a GPU may
    differ in their last bits from one time to the next.
    """
    settings, weights = _checked(settings)
    digest = cache(sha256_of)
    weights_sha256 = {name: digest(model) for name, model in weights.items()}
    folder = MeasurementFolder(source, out, asdict(settings), device, weights_sha256=weights_sha256)
    if not folder.finished:
        classifier = folder.load_classifier()
        purifiers = {name: find("purifiers", name.partition("=")[0])(model, device) for name, model in weights.items()}
        purifiers[UNDEFENDED] = None
        log = folder.begin("static.svg")
        adversarial = out / "adversarial"
        with writing(out):
            adversarial.mkdir(exist_ok=True)
        if not log.entries:
            for stale in adversarial.glob("*-*-*.safetensors"):
                stale.unlink()
        defended = {
            name: Defended(classifier, purifier, settings.sigma, settings.draws, device)
            for name, purifier in purifiers.items()
        }
        _Measurement(folder, defended, settings, log, adversarial, device).run(Progress(quiet))
        samples = folder.images.samples
        results = summarize(log.entries, [sample.label for sample in samples])
        title = f"{folder.title}, {len(samples)} images, mean of {len(settings.attacks)} attacks"
        modes = MODES if settings.adaptive else MODES[:1]
        folder.finish(
            log,
            list(_rows(log, samples)),
            {f"{mode}.svg": draw_robustness(results, mode, f"{mode} attacks: {title}") for mode in modes},
            {"crafting": _crafting(log)},
            {"results": [asdict(each) for each in results]},
        )
    return folder.read()


@dataclass(frozen=True)
class _Measurement:
    """The loop over blocks and jobs."""

    folder: MeasurementFolder
    defended: dict[str, Defended]
    settings: Settings
    log: ResultsLog
    adversarial: Path
    device: torch.device

    def run(self, progress: Progress) -> None:
        """Do all jobs that the log does not hold."""
        jobs = list(_jobs(self.settings))
        done = {(Job(**entry["job"]), entry["block"]) for entry in self.log.entries}
        with progress.task("attacking", len(jobs) * len(self.folder.images.samples)) as advance:
            for block in self._blocks():
                clean: dict[str, Tensor] = {}
                for job in jobs:
                    if (job, block.number) not in done:
                        if job.purifier not in clean:
                            clean[job.purifier] = self._purify(job.purifier, block, block.images)
                        self._do(job, block, clean[job.purifier])
                    advance(len(block.ids))

    def _do(self, job: Job, block: _Block, clean: Tensor) -> None:
        attacked, seconds = self._attack(job, block)
        purified = self._purify(job.purifier, block, attacked)
        changed = _distance(attacked.float() / 255, block.images.float() / 255)
        residual = torch.where(changed > 0, _distance(purified, clean) / changed, torch.nan).tolist()
        self.log.add(
            {
                "job": vars(job),
                "block": block.number,
                "first": block.first,
                "predictions": self.defended[job.purifier].predict(purified).tolist(),
                "residuals": [None if np.isnan(value) else round(value, RESIDUAL_DIGITS) for value in residual],
                "seconds": seconds,
            }
        )

    def _attack(self, job: Job, block: _Block) -> tuple[Tensor, float]:
        """Images uint8 and the time that they took; of static attacks only the first purifier's job makes them."""
        if job.attack == CLEAN:
            return block.images, 0.0
        static = job.mode == "static"
        path = self.adversarial / f"{job.attack}-{job.eps.replace('/', '_')}-{block.number}.safetensors"
        if static and path.exists():
            return read_weights(path)[0]["images"].to(self.device), 0.0
        victim = UNDEFENDED if static else job.purifier
        eps = budget(job.eps)
        key = (job.mode, victim, job.attack, eps, block.number)
        generator = device_generator(self.device, self.settings.seed, *key)
        wait_for(self.device)
        start = time.perf_counter()
        log_probs = partial(self.defended[victim].log_probs, generator=generator)
        attacked = craft(ATTACKS[job.attack], log_probs, block.images, block.labels, eps, generator)
        wait_for(self.device)
        seconds = time.perf_counter() - start
        if static:
            write_weights(path, {"images": attacked})
        return attacked, seconds

    def _purify(self, purifier: str, block: _Block, images: Tensor) -> Tensor:
        return self.defended[purifier].purify(images.float() / 255, self.settings.seed, block.ids)

    def _blocks(self) -> Iterator[_Block]:
        samples = self.folder.images.samples
        pixels = ((index, self.folder.pixels(index)) for index in range(len(samples)))
        number = 0
        for (_, height, width), same in groupby(pixels, key=lambda pair: pair[1].shape):
            size = fitting(CPU_IMAGES if self.device.type == "cpu" else CUDA_IMAGES, height, width)
            while chosen := list(islice(same, size)):
                members = [samples[index] for index, _ in chosen]
                yield _Block(
                    number,
                    chosen[0][0],
                    [sample.id for sample in members],
                    torch.tensor([sample.label for sample in members], device=self.device),
                    torch.from_numpy(np.stack([image for _, image in chosen])).to(self.device),
                )
                number += 1


def _checked(settings: Settings) -> tuple[Settings, dict[str, str | None]]:
    """Settings whose purifiers are named as in records, and the weights of each."""
    weights = {recorded_model(name): name.partition("=")[2] or None for name in settings.purifiers}
    if len(weights) < len(settings.purifiers):
        raise ElixirError("a purifier is named twice; tell weights of one file name apart by relative paths")
    if len({budget(eps) for eps in settings.eps}) < len(settings.eps):
        raise ElixirError("an eps is given twice")
    if not 0 < settings.sigma <= 1:
        raise ElixirError(f"sigma must lie in (0, 1], in [0,1] pixel units, not {settings.sigma:g}")
    return replace(settings, purifiers=tuple(weights)), weights


def _jobs(settings: Settings) -> Iterator[Job]:
    for purifier in settings.purifiers:
        yield Job("static", purifier, CLEAN, "0")
    for attack in settings.attacks:
        for eps in settings.eps:
            for purifier in settings.purifiers:
                yield Job("static", purifier, attack, eps)
                if settings.adaptive and purifier != UNDEFENDED:  # there, it is the same
                    yield Job("adaptive", purifier, attack, eps)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """L2, of each image, (n,)."""
    return (one - other).flatten(1).norm(dim=1)


def _rows(log: ResultsLog, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
    """A row for every image and job."""
    for entry in log.entries:
        outcomes = zip(entry["predictions"], entry["residuals"], strict=True)
        for index, (prediction, residual) in enumerate(outcomes, entry["first"]):
            about = {"id": samples[index].id, "label": samples[index].label, **entry["job"]}
            yield {**about, "prediction": prediction, "residual": np.nan if residual is None else residual}


def _crafting(log: ResultsLog) -> list[dict[str, Any]]:
    """Seconds that adversarial images took, all budgets together; static ones are no purifier's."""
    totals: dict[tuple[str, str, str], dict[str, Any]] = {}
    for entry in log.entries:
        if entry["seconds"]:
            mode, purifier, attack = (entry["job"][key] for key in ("mode", "purifier", "attack"))
            purifier = purifier if mode == "adaptive" else ""
            total = {"mode": mode, "purifier": purifier, "attack": attack, "seconds": 0.0, "images": 0}
            total = totals.setdefault((mode, purifier, attack), total)
            total["seconds"] += entry["seconds"]
            total["images"] += len(entry["predictions"])
    return list(totals.values())
