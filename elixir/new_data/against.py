"""Every image of a source, judged by a finished run: no training, and no search for a new attack."""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import elixir
from elixir.data.io import RUN_FOLDER, real_path, refuse_bytes, replace_text
from elixir.data.manifest import ManifestRow, read_manifest, write_manifest
from elixir.data.overlap import refuse_overlap
from elixir.data.parallel import cores
from elixir.data.paths import escape, recorded
from elixir.data.source import Source, listed
from elixir.data.workdir import WorkDir
from elixir.errors import ElixirError
from elixir.new_data.judge import Judge
from elixir.new_data.known_run import KnownRun
from elixir.new_data.outcome import NO_LABELS, NOT_JUDGED, Alarms, KnownTrigger, NewData
from elixir.progress import Progress
from elixir.stages.index import hexadecimal, read_samples

READ_AT_ONCE = 256


def judge_new_data(
    source: Source,
    against: str | Path,
    out: str | Path | None,
    false_alarms: float,
    device: torch.device,
    overwrite: bool = False,
    quiet: bool = True,
) -> NewData:
    """Judge every image of a source; see `elixir.api.scan_against`.

    Args:
        source: its classes are those of the run by name; it may have none.
        against: what `sanitize` or `scan` has written.
        out: folder to make for the findings; None to return them only.
        false_alarms: share of clean images that each test may name.
    """
    if not 0 < false_alarms < 1:
        raise ElixirError(f"a false-alarm rate of {false_alarms} must lie between 0 and 1, such as 0.001")
    start, dst = time.perf_counter(), real_path(against)
    with tempfile.TemporaryDirectory(prefix="elixir-against-") as folder:
        known = KnownRun(dst, device, Path(folder))
        session = _Session(source, known, Judge(known, false_alarms), Progress(quiet))
        if out is None:
            return session.run(Path(folder), None, dst, start)
        out = real_path(out)
        refuse_bytes(out)
        refuse_overlap(source, out)
        if out.is_relative_to(dst) or dst.is_relative_to(out):
            where = f"{escape(str(out))} and {escape(str(dst))}"
            raise ElixirError(f"{where} must not lie in each other; give another folder with -o")
        work = WorkDir(out, overwritable=True)
        settings = {
            "version": elixir.__version__,
            "source": recorded(source.location),
            "fingerprint": source.fingerprint(),
            "against": recorded(str(dst)),
            "false_alarms": false_alarms,
        }
        with work.alone():
            work.prepare(settings, overwrite=overwrite)
            work.begin(settings)
            work.sign(settings)
            evidence = work.output / RUN_FOLDER
            found = session.run(evidence, out, dst, start)
            described = {name: value for name, value in found.as_dict().items() if name not in ("path", "seconds")}
            replace_text(evidence / "findings.json", json.dumps(described, indent=2))
            replace_text(evidence / "summary.txt", found.summary())
            work.publish(overwrite)
    return found


class _Session:
    """One source before one judge, with counts of what is found."""

    def __init__(self, source: Source, known: KnownRun, judge: Judge, progress: Progress) -> None:
        self._source, self._known, self._judge, self._progress = source, known, judge, progress
        unknown = [name for name in source.classes if name not in known.classes]
        if source.classes and len(unknown) == len(source.classes):
            what = f"none of its classes ({listed(source.classes)}) is one of that run ({listed(known.classes)})"
            raise ElixirError(f"{source.location}: {what}; rename them, or look for triggers alone with --unlabelled")
        if not source.classes and not known.triggers:
            what = "the images have no labels, and no trigger is known, as no label was under attack"
            raise ElixirError(f"{source.location}: {what}; nothing can be judged: give the images with their labels")
        self._classes = [*known.classes, *unknown]
        self._number = np.array([self._classes.index(name) for name in source.classes] + [-1])  # -1 stays that
        self._why = known.not_judged | {
            len(known.classes) + place: "its class is not one of that run" for place in range(len(unknown))
        }
        if source.classes:
            self._why[-1] = "has no label"
        self._readable = 0
        self._found = dict.fromkeys(known.triggers, 0)
        self._labels, self._denied, self._denied_by_chance = 0, 0, 0.0

    def run(self, folder: Path, path: Path | None, dst: Path, start: float) -> NewData:
        """Judge all, and write the table into a folder."""
        write_manifest(folder / "manifest.parquet", self._rows(), self._classes)
        known, rate = self._known, self._judge.trigger_rate
        triggers = []
        for label, found in self._found.items():
            known_found, count = known.calibration.known_found(label, rate)
            alarms = Alarms(self._readable, found, rate * self._readable)
            triggers.append(KnownTrigger(known.classes[label], alarms, count, known_found))
        return NewData(
            path,
            recorded(str(dst)),
            read_manifest(folder / "manifest.parquet"),
            triggers,
            Alarms(self._labels, self._denied, self._denied_by_chance),
            time.perf_counter() - start,
            [*self._source.notes, *([] if self._source.classes else [NO_LABELS])],
        )

    def _rows(self) -> Iterator[ManifestRow]:
        samples = self._source.samples
        with self._progress.task("judging", len(samples)) as advance:
            for first in range(0, len(samples), READ_AT_ONCE):
                rows = np.arange(first, min(first + READ_AT_ONCE, len(samples)))
                yield from self._judged(rows)
                advance(len(rows))

    def _judged(self, rows: np.ndarray) -> Iterator[ManifestRow]:
        known, judge = self._known, self._judge
        columns, pixels = read_samples(self._source, rows, known.size, known.max_pixels, cores(), labelled=False)
        readable = np.flatnonzero(columns["source_usable"])
        label = self._number[self._source.samples.labels[rows]]
        asked = np.where(np.isin(label, list(self._why)), -1, label)[readable]
        found = judge.look(torch.from_numpy(pixels[readable]), asked)
        self._readable += len(readable)
        self._labels += int((asked >= 0).sum())
        self._denied += int(found.denied.sum())
        self._denied_by_chance += float(judge.label_rate[asked[asked >= 0]].sum())
        for one, mask in found.carries.items():
            self._found[one] += int(mask.sum())
        place_of = {int(row): place for place, row in enumerate(readable)}
        for index, row in enumerate(rows.tolist()):
            sample, given, place = self._source.samples[row], int(label[index]), place_of.get(index)
            reason = "" if place is None else found.reason(place, self._classes)
            why = str(columns["source_problem"][index]) or self._why.get(given, "")
            named = bool(reason)
            height, width = columns["source_shape"][index].tolist()
            yield ManifestRow(
                id=sample.id,
                name=sample.name,
                label=given,
                new_label=int(found.seen[place]) if named and place is not None else given,
                output="",
                action="none",
                reason=reason or (NOT_JUDGED + why if why else ""),
                sha256_in=hexadecimal(columns["source_sha256"][index]),
                sha256_out="",
                height=height,
                width=width,
                poison_score=float("nan") if place is None else 1 - float(found.least_p[place]),
                flagged=named,
                confidence=float(found.confidence[place]) if named and place is not None else float("nan"),
                seed=0,
                original="",
            )
