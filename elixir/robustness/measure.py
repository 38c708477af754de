"""Robustness of a classifier behind purifiers: attack, purify, classify, with the files that are left of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elixir.data.columns import write_columns
from elixir.data.image import decode
from elixir.data.io import read_json, replace_json, replace_text, writing
from elixir.data.open import refuse_overlap
from elixir.data.source import Source
from elixir.data.subset import Part, evenly_spread
from elixir.data.workdir import result_folder
from elixir.errors import ElixirError
from elixir.measurement.machine import machine
from elixir.measurement.results_log import ResultsLog
from elixir.models.device import wait_for
from elixir.models.external import load_classifier
from elixir.models.weights import read_weights, sha256_of, write_weights
from elixir.progress import Progress
from elixir.randomness import device_generator
from elixir.registry import find
from elixir.robustness.attacks import ATTACKS, budget, craft
from elixir.robustness.defended import Defended
from elixir.robustness.summary import CLEAN, MODES, UNDEFENDED, draw_robustness, summarize

CPU_IMAGES = 64
CUDA_IMAGES = 128
PIXELS = 32 * 32


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
        seed: of the attacks and the noise.
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
class _Job:
    """One attack on every image; `CLEAN` is none."""

    mode: str
    purifier: str
    attack: str
    eps: str


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
    """Attack images of a test set and classify what purifiers make of them.

    A static attack knows the classifier alone; what it makes is kept in `adversarial/` and given to all purifiers. An
    adaptive one takes its gradient through the purifier: see `Defended.log_probs`. Writes `rows.parquet`, `static.svg`,
    `adaptive.svg`, `summary.json` and `timings.json`. Goes on where it was interrupted, at the block of images of an
    attack, and does nothing when it is done. On a CPU all files but the timings are the same however often it was
    interrupted; the gradients of a GPU may differ in their last bits from one time to the next.

    Args:
        source: the test set; its classes are those of the classifier, in the same order.
        out: folder to make.
        settings: of the measurement.
        device: where the networks run.
        quiet: no progress.

    Returns:
        What is in `summary.json` and, under `timings`, in `timings.json`.

    Raises:
        ElixirError: unusable settings, model or data, or `out` belongs to other settings,
            holds something else or overlaps with the test set.
    """
    _check(settings)
    refuse_overlap(source, out, around=True)
    part, unreadable, digest = evenly_spread(source, settings.count)
    digests = {model: sha256_of(model) for model in {_weights(name) for name in settings.purifiers}}
    about: dict[str, Any] = {
        "test": source.location,
        **json.loads(json.dumps(asdict(settings))),
        "images": len(part.samples),
        "images_sha256": digest,
        "classifier_sha256": sha256_of(settings.classifier),
        "weights_sha256": {name: digests[_weights(name)] for name in settings.purifiers},
        "device": device.type,
    }
    summary, timings = out / "summary.json", out / "timings.json"
    if not summary.exists():
        classifier = load_classifier(settings.classifier, len(source.classes), device, source.classes)
        loaded = {name: _load(name, device) for name in settings.purifiers}
        result_folder(out, ("rows.jsonl", "static.svg"), ("rows.parquet", "timings.json"))
        with writing(out):
            (out / "adversarial").mkdir(exist_ok=True)
        journal = ResultsLog(out / "rows.jsonl", about)
        if not journal.entries:
            for stale in (out / "adversarial").glob("*-*-*.safetensors"):
                stale.unlink()
        defended = {
            name: Defended(classifier, purifier, settings.sigma, settings.draws, device)
            for name, purifier in {UNDEFENDED: None, **loaded}.items()
        }
        _Measurement(part, defended, settings, journal, out / "adversarial", device).run(Progress(quiet))
        _write_rows(out / "rows.parquet", journal, part)
        results = summarize(journal.entries, [sample.label for sample in part.samples])
        title = f"{Path(source.location).stem}, {len(part.samples)} images, mean of {len(settings.attacks)} attacks"
        for mode in MODES if settings.adaptive else MODES[:1]:
            replace_text(out / f"{mode}.svg", draw_robustness(results, mode, f"{mode} attacks: {title}"))
        replace_json(timings, {"crafting": _crafting(journal), "machine": machine(device)})
        replace_json(
            summary, {"settings": about, "unreadable": unreadable, "results": [asdict(each) for each in results]}
        )
        journal.remove()
    known = read_json(summary, "remove it to measure again")
    if known.get("settings") != about:
        raise ElixirError(f"{out} holds a measurement with other settings; choose another output folder")
    return {**known, "timings": read_json(timings, f"remove it and {summary.name} to measure again")}


class _Measurement:
    """The loop over blocks and jobs."""

    def __init__(
        self,
        part: Part,
        defended: dict[str, Defended],
        settings: Settings,
        journal: ResultsLog,
        folder: Path,
        device: torch.device,
    ) -> None:
        self._part = part
        self._defended = defended
        self._settings = settings
        self._journal = journal
        self._folder = folder
        self._device = device

    def run(self, progress: Progress) -> None:
        """Do all jobs that the journal has not."""
        jobs = list(_jobs(self._settings))
        done = {(_Job(**entry["job"]), entry["block"]) for entry in self._journal.entries}
        with progress.task("attacking", len(jobs) * len(self._part.samples)) as advance:
            for block in self._blocks():
                clean: dict[str, Tensor] = {}
                for job in jobs:
                    if (job, block.number) not in done:
                        if job.purifier not in clean:
                            clean[job.purifier] = self._purify(job.purifier, block, block.images)
                        self._do(job, block, clean[job.purifier])
                    advance(len(block.ids))

    def _do(self, job: _Job, block: _Block, clean: Tensor) -> None:
        adversarial, seconds = self._adversarial(job, block)
        purified = self._purify(job.purifier, block, adversarial)
        before = _distance(adversarial.float() / 255, block.images.float() / 255)
        residual = torch.where(before > 0, _distance(purified, clean) / before, torch.nan)
        self._journal.add(
            {
                "job": vars(job),
                "block": block.number,
                "first": block.first,
                "predictions": self._defended[job.purifier].predict(purified).tolist(),
                "residuals": [None if np.isnan(value) else round(value, 6) for value in residual.tolist()],
                "seconds": seconds,
            }
        )

    def _adversarial(self, job: _Job, block: _Block) -> tuple[Tensor, float]:
        """Images uint8 and the time that they took; of static attacks only the first purifier's job makes them."""
        if job.attack == CLEAN:
            return block.images, 0.0
        victim = job.purifier if job.mode == "adaptive" else UNDEFENDED
        path = self._folder / f"{job.attack}-{job.eps.replace('/', '_')}-{block.number}.safetensors"
        if job.mode == "static" and path.exists():
            return read_weights(path)[0]["images"].to(self._device), 0.0
        eps = budget(job.eps)
        key = (job.mode, victim, job.attack, eps, block.number)
        generator = device_generator(self._device, self._settings.seed, *key)
        attacked = self._defended[victim]
        wait_for(self._device)
        start = time.perf_counter()
        found = craft(
            ATTACKS[job.attack],
            lambda x: attacked.log_probs(x, generator),
            block.images,
            block.labels,
            eps,
            generator,
        )
        wait_for(self._device)
        seconds = time.perf_counter() - start
        if job.mode == "static":
            write_weights(path, {"images": found.cpu().contiguous()})
        return found, seconds

    def _purify(self, purifier: str, block: _Block, images: Tensor) -> Tensor:
        return self._defended[purifier].purify(images.float() / 255, self._settings.seed, block.ids)

    def _blocks(self) -> Iterator[_Block]:
        samples = self._part.samples
        pictures = ((place, decode(self._part.read(place)).rgb) for place in range(len(samples)))
        most = CPU_IMAGES if self._device.type == "cpu" else CUDA_IMAGES
        number = 0
        for (height, width, _), same in groupby(pictures, key=lambda placed: placed[1].shape):
            size = max(1, min(most, most * PIXELS // (height * width)))
            while chosen := list(islice(same, size)):
                places = [place for place, _ in chosen]
                images = np.stack([rgb for _, rgb in chosen]).transpose(0, 3, 1, 2)
                yield _Block(
                    number,
                    places[0],
                    [samples[place].id for place in places],
                    torch.tensor([samples[place].label for place in places], device=self._device),
                    torch.from_numpy(np.ascontiguousarray(images)).to(self._device),
                )
                number += 1


def _check(settings: Settings) -> None:
    if len(set(settings.purifiers)) < len(settings.purifiers):
        raise ElixirError("a purifier is named twice")
    if len({budget(eps) for eps in settings.eps}) < len(settings.eps):
        raise ElixirError("an eps is given twice")
    if not 0 < settings.sigma <= 1:
        raise ElixirError(f"sigma must lie in (0, 1], in [0,1] pixel units, not {settings.sigma:g}")


def _weights(purifier: str) -> str | None:
    return purifier.partition("=")[2] or None


def _load(purifier: str, device: torch.device) -> Any:
    name = purifier.partition("=")[0]
    loaded = find("purifiers", name)(_weights(purifier), device)
    return None if name == UNDEFENDED else loaded


def _jobs(settings: Settings) -> Iterator[_Job]:
    for purifier in settings.purifiers:
        yield _Job("static", purifier, CLEAN, "0")
    for attack in settings.attacks:
        for eps in settings.eps:
            for purifier in settings.purifiers:
                yield _Job("static", purifier, attack, eps)
                if settings.adaptive and purifier != UNDEFENDED:  # there, it is the same
                    yield _Job("adaptive", purifier, attack, eps)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """L2, of each image, (n,)."""
    return (one - other).flatten(1).norm(dim=1)


def _write_rows(path: Path, journal: ResultsLog, part: Part) -> None:
    """A row for every image and job."""
    table: dict[str, list[Any]] = {}
    for entry in journal.entries:
        outcomes = zip(entry["predictions"], entry["residuals"], strict=True)
        for place, (prediction, residual) in enumerate(outcomes, entry["first"]):
            sample = part.samples[place]
            row = {"id": sample.id, "label": sample.label, **entry["job"], "prediction": prediction}
            for key, value in {**row, "residual": np.nan if residual is None else residual}.items():
                table.setdefault(key, []).append(value)
    text = ("id", "mode", "purifier", "attack", "eps")
    with writing(path):
        write_columns(path, {key: np.array(values, object if key in text else None) for key, values in table.items()})


def _crafting(journal: ResultsLog) -> list[dict[str, Any]]:
    """Seconds that adversarial images took, all budgets together; static ones are no purifier's."""
    spent: dict[tuple[str, str, str], list[float]] = {}
    for entry in journal.entries:
        mode, purifier, attack = (entry["job"][key] for key in ("mode", "purifier", "attack"))
        if entry["seconds"]:
            total = spent.setdefault((mode, purifier if mode == "adaptive" else "", attack), [0.0, 0])
            total[0] += entry["seconds"]
            total[1] += len(entry["predictions"])
    return [
        {"mode": mode, "purifier": purifier, "attack": attack, "seconds": seconds, "images": images}
        for (mode, purifier, attack), (seconds, images) in spent.items()
    ]
