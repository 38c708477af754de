"""Certification of a test set, image by image, with the files that are left of it."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elixir.certification.report import Row, accuracies, draw_curve, radii_up_to
from elixir.certification.sampling import Certificate, check, largest_radius
from elixir.certification.smoothing import Named, SmoothedClassifier
from elixir.data.source import Source
from elixir.engine.cost import Cost
from elixir.errors import ElixirError
from elixir.measurement.measurement_folder import MeasurementFolder, recorded_model
from elixir.measurement.results_log import ResultsLog
from elixir.models.weights import sha256_of
from elixir.progress import Progress
from elixir.registry import find


@dataclass(frozen=True)
class Settings:
    """What the certificates depend on, besides the images.

    Attributes:
        classifier: for `load_classifier`.
        purifier: registered name, with the weights `prior`; None for what it ships.
        sigmas: deviations of the noise in [0,1] pixel units, all different.
        n0: draws that choose the label.
        n: draws for the bound.
        alpha: probability of a wrong certificate for one image at one noise level.
        count: number of images, evenly spread over the test set; all where it has fewer.
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
    """Certify images of a test set; returns `MeasurementFolder.read`.

    Writes `rows.parquet`, `curve.svg`, `summary.json` and `timings.json`. Goes on where it was interrupted; all files
    but the timings are the same however often that was.
    """
    if len(set(settings.sigmas)) < len(settings.sigmas):
        raise ElixirError("a sigma is given twice")
    check(settings.alpha, settings.n0, settings.n)
    kept = {**asdict(settings), "prior": settings.prior and recorded_model(settings.prior)}
    folder = MeasurementFolder(source, out, kept, device, prior_sha256=sha256_of(settings.prior))
    if not folder.finished:
        classifier = folder.load_classifier()
        purifier = find("purifiers", settings.purifier)(settings.prior, device)
        smoothed = [SmoothedClassifier(classifier, purifier, s, device, settings.seed) for s in settings.sigmas]
        log = folder.begin("curve.svg")
        _certify(folder, smoothed, settings, log, quiet)
        certified = {(row.sigma, row.id): row for row, _ in map(from_entry, log.entries)}
        samples = folder.images.samples
        rows = [certified[sigma, sample.id] for sigma in settings.sigmas for sample in samples]
        largest = largest_radius(max(settings.sigmas), settings.n, settings.alpha)
        radii = radii_up_to(largest)
        title = f"{folder.title}, purifier {settings.purifier}, {len(samples)} images"
        folder.finish(
            log,
            [{"id": row.id, "label": row.label, "sigma": row.sigma, **asdict(row.certificate)} for row in rows],
            {"curve.svg": draw_curve(rows, settings.sigmas, max(largest, radii[-1]), title)},
            _rates(from_entry(log.entries[-1])[1], rows),
            {"radii": radii, **accuracies(rows, settings.sigmas, radii)},
        )
    return folder.read()


def to_entry(row: Row, cost: Cost) -> dict[str, Any]:
    """A row for the results log, with what all rows have cost so far."""
    return {**asdict(row), "cost": vars(cost)}


def from_entry(entry: dict[str, Any]) -> tuple[Row, Cost]:
    """The inverse of `to_entry`."""
    certificate = Certificate(**entry["certificate"])
    return Row(entry["id"], entry["label"], entry["sigma"], certificate), Cost(**entry["cost"])


def _certify(
    folder: MeasurementFolder, smoothed: list[SmoothedClassifier], settings: Settings, log: ResultsLog, quiet: bool
) -> None:
    labels = {sample.id: sample.label for sample in folder.images.samples}
    before = from_entry(log.entries[-1])[1] if log.entries else Cost()
    start = time.perf_counter()
    with Progress(quiet).task("certifying", len(labels) * len(smoothed)) as advance:
        advance(len(log.entries))
        for classifier in smoothed:
            images = _images(folder, {entry["id"] for entry in log.entries if entry["sigma"] == classifier.sigma})
            certified = classifier.certify_each(images, settings.n0, settings.n, settings.alpha, settings.adaptive)
            for id, certificate in certified:
                cost = Cost(
                    before.seconds + time.perf_counter() - start,
                    before.network_seconds + sum(each.cost.network_seconds for each in smoothed),
                    before.nfe + sum(each.cost.nfe for each in smoothed),
                )
                log.add(to_entry(Row(id, labels[id], classifier.sigma, certificate), cost))
                advance(1)


def _images(folder: MeasurementFolder, done: set[str]) -> Iterator[Named]:
    for index, sample in enumerate(folder.images.samples):
        if sample.id not in done:
            yield sample.id, torch.from_numpy(folder.pixels(index).astype(np.float32) / 255)


def _rates(cost: Cost, rows: list[Row]) -> dict[str, object]:
    """What it has cost; an image counts once for every noise level."""
    return {
        **vars(cost),
        "network_share": cost.network_seconds / cost.seconds,
        "images_per_minute": 60 * len(rows) / cost.seconds,
        "draws": sum(row.certificate.draws for row in rows),
    }
