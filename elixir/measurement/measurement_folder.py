"""The frame of a measurement on test images: which ones, the folder of its results, and how to compare such folders."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from elixir.data.image import decode
from elixir.data.io import read_json, replace_json, replace_text, write_table, writing
from elixir.data.overlap import refuse_overlap
from elixir.data.paths import escape, recorded
from elixir.data.source import Source, evenly_spread
from elixir.data.workdir import refuse_other_settings
from elixir.errors import ElixirError
from elixir.measurement.machine import machine
from elixir.measurement.results_log import ResultsLog
from elixir.models.classifier import Classifier
from elixir.models.external import load_classifier
from elixir.models.weights import sha256_of

SMALL_IMAGE = 32 * 32  # pixels of the images that batch sizes are given for


class MeasurementFolder:
    """Evenly spread images of a test set, and the folder of what is measured on them.

    Unless it is `finished`: load the networks, so that what fails there leaves no folder; `begin`; add to the log what
    it does not hold yet; `finish`. Then `read`. While it goes on, the results stand in `rows.jsonl`; then in
    `rows.parquet`, drawings, `timings.json` and, written last, `summary.json`.

    Args:
        source: the test set; its classes are those of the classifier, in the same order.
        out: the folder, made by `begin`; not one of the test set's.
        settings: what the results depend on, besides the images; with "classifier" (see `load_classifier`) and "count"
            (of images) among them. Paths of models are recorded by `recorded_model`.
        digests: of other models that the results depend on.
    """

    def __init__(
        self, source: Source, out: Path, settings: Mapping[str, Any], device: torch.device, **digests: object
    ) -> None:
        refuse_overlap(source, out, around=True)
        self._out, self._device, self._classes = out, device, source.classes
        self._classifier: str = settings["classifier"]
        self.images: Source
        self.images, self._unreadable, sha256 = evenly_spread(source, settings["count"])
        self._settings: dict[str, Any] = {
            "test": recorded(source.location),
            **json.loads(json.dumps(settings)),
            "classifier": recorded_model(self._classifier),
            "images": len(self.images.samples),
            "images_sha256": sha256,
            "classifier_sha256": sha256_of(self._classifier),
            **digests,
            "device": device.type,
        }
        self.title = name_of_test_set(self._settings)

    @property
    def finished(self) -> bool:
        return (self._out / "summary.json").exists()

    def load_classifier(self) -> Classifier:
        """See `load_classifier`; checked against the classes of the test set."""
        return load_classifier(self._classifier, len(self._classes), self._device, self._classes)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """A chosen image, uint8 (3, h, w)."""
        return decode(self.images.read(index)).rgb.transpose(2, 0, 1)

    def begin(self, drawing: str) -> ResultsLog:
        """Make the folder and open its log; an ElixirError for results where neither `drawing` nor a log is."""
        with writing(self._out):
            self._out.mkdir(parents=True, exist_ok=True)
        if not any((self._out / name).exists() for name in ("rows.jsonl", drawing)):
            for name in ("rows.parquet", "timings.json"):
                if (self._out / name).exists():
                    where = escape(str(self._out))
                    raise ElixirError(f"{where} has a {name} of something else; give another folder with -o")
        return ResultsLog(self._out / "rows.jsonl", self._settings)

    def finish(
        self,
        log: ResultsLog,
        rows: list[dict[str, Any]],
        drawings: Mapping[str, str],
        timings: Mapping[str, object],
        summary: Mapping[str, object],
    ) -> None:
        """Write all results, the summary last, and remove the log.

        Rows have the same keys, with numbers and text; drawings are SVG by file name. The timings get the machine, and
        the summary the settings.
        """
        write_table(self._out / "rows.parquet", pa.Table.from_pylist(rows))
        for name, drawing in drawings.items():
            replace_text(self._out / name, drawing)
        replace_json(self._out / "timings.json", {**timings, "machine": machine(self._device)})
        about = {"settings": self._settings, "unreadable": self._unreadable}
        replace_json(self._out / "summary.json", {**about, **summary})
        log.remove()

    def read(self) -> dict[str, Any]:
        """`summary.json` with `timings.json` under `timings`, or an ElixirError if they are of other settings."""
        summary = read_json(self._out / "summary.json", "remove it to measure again")
        other = f"{self._out} holds a measurement with other settings"
        refuse_other_settings(summary.get("settings", {}), self._settings, other, "choose another output folder")
        timings = read_json(self._out / "timings.json", "remove it and summary.json to measure again")
        return {**summary, "timings": timings}


def recorded_model(spec: str) -> str:
    """A model as records name it: see `recorded`; "impure=/a/b.safetensors" becomes "impure=b.safetensors"."""
    head, slash, rest = spec.partition("/")
    return head + recorded(slash + rest) if head.endswith(("=", "@")) else recorded(spec)


def fitting(most: int, height: int, width: int) -> int:
    """How many images of a size are worth `most` of 32 x 32 pixels; at least 1, not more than `most`."""
    return max(1, min(most, most * SMALL_IMAGE // (height * width)))


def read_finished(folder: Path, what: str, command: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """`summary.json` and `timings.json`; an ElixirError about `what` and the `command` for it if it is not finished."""
    if not (folder / "summary.json").exists():
        raise ElixirError(f"{folder} holds no finished {what}; run the same `elixir {command}` again to finish it")
    return read_json(folder / "summary.json", "measure again"), read_json(folder / "timings.json", "measure again")


def name_of_test_set(settings: Mapping[str, Any]) -> str:
    """The file of the test set, without folder and extension."""
    return Path(settings["test"]).stem


def hardware(timings: Mapping[str, Any]) -> str:
    """The accelerator that a measurement ran on, or else the processor."""
    return timings["machine"]["gpu"] or timings["machine"]["cpu"]


class _Measured(Protocol):
    @property
    def settings(self) -> dict[str, Any]: ...

    @property
    def hardware(self) -> str: ...


M = TypeVar("M", bound=_Measured)


def measured_alike(measurements: Sequence[M], keys: Sequence[str]) -> list[list[M]]:
    """Group measurements that can stand in one table: these settings and the hardware are the same."""
    groups: dict[str, list[M]] = {}
    for each in measurements:
        way = [*(each.settings.get(key) for key in keys), each.hardware]
        groups.setdefault(json.dumps(way), []).append(each)
    return list(groups.values())
