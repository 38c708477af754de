"""Certification of a test set, image by image, with the files that are left of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elixir.certification.accuracy import accuracies, radii_up_to
from elixir.certification.curve import draw_curve
from elixir.certification.ledger import Ledger, Row
from elixir.certification.sampling import check, largest_radius
from elixir.certification.smoothing import Named, SmoothedClassifier
from elixir.data.columns import write_columns
from elixir.data.image import decode
from elixir.data.io import read_json, replace_json, replace_text, writing
from elixir.data.open import refuse_overlap
from elixir.data.source import Source
from elixir.data.subset import Part, evenly_spread
from elixir.data.workdir import result_folder
from elixir.engine.run import Cost
from elixir.errors import ElixirError
from elixir.measurement.machine import machine
from elixir.models.external import load_classifier
from elixir.models.weights import sha256_of
from elixir.progress import Progress
from elixir.registry import find


@dataclass(frozen=True)
class Settings:
    """What the certificates depend on, besides the images.

    Attributes:
        classifier: for `load_classifier`.
        purifier: registered name.
        prior: weights for the purifier, None for those that it ships.
        sigmas: deviations of the noise in [0,1] pixel units, all different.
        n0: draws that choose the label.
        n: draws for the bound.
        alpha: probability of a wrong claim about one image at one noise level.
        count: number of images, evenly spread over the test set; all where it has fewer.
        seed: of the noise.
        adaptive: abstain early, see `sampling.certifying`.
    """

    classifier: str
    purifier: str = "prior"
    prior: str | None = None
    sigmas: tuple[float, ...] = (0.12, 0.25, 0.5)
    n0: int = 100
    n: int = 1000
    alpha: float = 0.001
    count: int = 500
    seed: int = 0
    adaptive: bool = False


def certify_dataset(
    source: Source, out: Path, settings: Settings, device: torch.device, quiet: bool = False
) -> dict[str, Any]:
    """Certify images of a test set, and write `rows.parquet`, `curve.svg`, `summary.json` and `timings.json`.

    Goes on where it was interrupted, and does nothing when it is done. All files but the timings are the same however
    often it was interrupted.

    Args:
        source: the test set; its classes are those of the classifier, in the same order.
        out: folder to make.
        settings: of the certification.
        device: where the networks run.
        quiet: no progress.

    Returns:
        What is in `summary.json` and, under `timings`, in `timings.json`.

    Raises:
        ElixirError: unusable settings, model or data, or `out` belongs to other settings,
            holds something else or overlaps with the test set.
    """
    if len(set(settings.sigmas)) < len(settings.sigmas):
        raise ElixirError("a sigma is given twice")
    check(settings.alpha, settings.n0, settings.n)
    refuse_overlap(source, out, around=True)
    part, unreadable, digest = evenly_spread(source, settings.count)
    about: dict[str, object] = {
        "test": source.location,
        **asdict(settings),
        "sigmas": list(settings.sigmas),
        "images": len(part.samples),
        "images_sha256": digest,
        "classifier_sha256": sha256_of(settings.classifier),
        "prior_sha256": sha256_of(settings.prior),
        "device": device.type,
    }
    summary, timings, journal = out / "summary.json", out / "timings.json", out / "rows.jsonl"
    if not summary.exists():
        classifier = load_classifier(settings.classifier, len(source.classes), device, source.classes)
        purifier = find("purifiers", settings.purifier)(settings.prior, device)
        smoothed = [SmoothedClassifier(classifier, purifier, s, device, settings.seed) for s in settings.sigmas]
        result_folder(out, (journal.name, "curve.svg"), ("rows.parquet", "timings.json"))
        measured_on = machine(device)
        ledger = Ledger(journal, about)
        _certify(part, smoothed, settings, ledger, Progress(quiet))
        rows = _in_order(ledger.rows, part, settings.sigmas)
        largest = largest_radius(max(settings.sigmas), settings.n, settings.alpha)
        radii = radii_up_to(largest)
        _write_rows(out / "rows.parquet", rows)
        title = f"{Path(source.location).stem}, purifier {settings.purifier}, {len(part.samples)} images"
        replace_text(out / "curve.svg", draw_curve(rows, settings.sigmas, max(largest, radii[-1]), title))
        replace_json(timings, {**_rates(ledger.cost, rows), "machine": measured_on})
        accuracy = accuracies(rows, settings.sigmas, radii)
        replace_json(summary, {"settings": about, "unreadable": unreadable, "radii": radii, **accuracy})
        ledger.remove()
    known = read_json(summary, "remove it to measure again")
    if known.get("settings") != about:
        raise ElixirError(f"{out} holds a certification with other settings; choose another output folder")
    return {**known, "timings": read_json(timings, f"remove it and {summary.name} to measure again")}


def _certify(
    part: Part, smoothed: list[SmoothedClassifier], settings: Settings, ledger: Ledger, progress: Progress
) -> None:
    labels = {sample.id: sample.label for sample in part.samples}
    before, start = ledger.cost, time.perf_counter()
    with progress.task("certifying", len(labels) * len(smoothed)) as advance:
        advance(len(ledger.rows))
        for sigma, classifier in zip(settings.sigmas, smoothed, strict=True):
            done = {row.id for row in ledger.rows if row.sigma == sigma}
            images = _images(part, done)
            certified = classifier.certify_each(images, settings.n0, settings.n, settings.alpha, settings.adaptive)
            for id, certificate in certified:
                spent = Cost(
                    before.seconds + time.perf_counter() - start,
                    before.network_seconds + sum(each.cost.network_seconds for each in smoothed),
                    before.calls + sum(each.cost.calls for each in smoothed),
                )
                ledger.add(Row(id, labels[id], sigma, certificate), spent)
                advance(1)


def _images(part: Part, done: set[str]) -> Iterator[Named]:
    """Ids and images, float32 (3, h, w) in [0,1], of those that are not done."""
    for place, sample in enumerate(part.samples):
        if sample.id not in done:
            rgb = decode(part.read(place)).rgb
            yield sample.id, torch.from_numpy(rgb.transpose(2, 0, 1).astype(np.float32) / 255)


def _in_order(rows: list[Row], part: Part, sigmas: tuple[float, ...]) -> list[Row]:
    """By noise level as given, then as in the test set: not in the order in which they were finished."""
    found = {(row.sigma, row.id): row for row in rows}
    return [found[sigma, sample.id] for sigma in sigmas for sample in part.samples]


def _rates(cost: Cost, rows: list[Row]) -> dict[str, object]:
    """What it has cost; an image counts once for every noise level."""
    return {
        "seconds": cost.seconds,
        "network_seconds": cost.network_seconds,
        "network_share": cost.network_seconds / cost.seconds,
        "images_per_minute": 60 * len(rows) / cost.seconds,
        "purifier_calls": cost.calls,
        "draws": sum(row.certificate.draws for row in rows),
    }


def _write_rows(path: Path, rows: list[Row]) -> None:
    table = [{"id": row.id, "label": row.label, "sigma": row.sigma, **asdict(row.certificate)} for row in rows]
    kinds = {"id": object}
    columns = {key: np.array([entry[key] for entry in table], kinds.get(key)) for key in table[0]}
    with writing(path):
        write_columns(path, columns)
