"""Scans clean sets, a third of them with honest trouble, and counts false alarms; makes README.md's table.

    python notebooks/false_alarms/scans.py OUT signs=gtsrb32-train.parquet cifar=cifar10-jpeg-train.parquet
    python notebooks/false_alarms/scans.py OUT tiny=tinyimagenet64-train.parquet:32 photos=imagenette224.parquet:64:1000

Each set is NAME=SOURCE, with `:SIZE` to look at it at that working size, and `:SIZE:MOST` for that many samples at
most. The scans of a set follow from its name: number of samples and of classes, seed and trouble. One JSON file a scan;
a scan that has one is not made again, so the command goes on where it was stopped. `--part 2/3` makes the second third
of all scans, for several processes.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from trouble import TROUBLES, Sample, Troubled

import elixir
from elixir.data.io import replace_json
from elixir.data.open import open_source
from elixir.data.source import Source
from elixir.detection.reports import LabelReport
from elixir.measurement.machine import machine
from elixir.models.device import choose_device
from elixir.result import Result
from elixir.statistics import binomial_interval

SIZES = (500,) * 8 + (1000,) * 7 + (2000,) * 5 + (4000,) * 2
CLASSES = (1000, 10, 2, 5, 20, 50, 100)  # at most, in turn
LEAST = 20  # samples a class on average
TROUBLED = tuple(name for name in TROUBLES if name != "none")


@dataclass(frozen=True)
class Scan:
    """One clean set to look at.

    Args:
        set: name of what it is drawn from.
        samples: how many.
        classes: of how many, at most.
        trouble: one of `TROUBLES`.
        seed: of all draws and of the scan.
    """

    set: str
    samples: int
    classes: int
    trouble: str
    seed: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.set}-{self.samples}-{self.classes}-{self.trouble}-{self.seed}"


def plan(name: str, offset: int, most: int, most_classes: int) -> list[Scan]:
    """The scans of one set; every third has trouble."""
    scans = []
    for number, samples in enumerate(SIZES):
        if samples > most:
            continue
        classes = min(CLASSES[(number + offset) % len(CLASSES)], most_classes, samples // LEAST)
        trouble = TROUBLED[(number // 3 + 3 * offset) % len(TROUBLED)] if number % 3 == 2 else "none"
        scans.append(Scan(name, samples, classes, trouble, number))
    return scans


def drawn(scan: Scan, source: Source) -> Troubled:
    """The set: classes at random, then samples of these, then the trouble."""
    rng = np.random.default_rng([scan.seed, scan.samples, *scan.set.encode()])
    labels = source.samples.labels
    chosen = rng.permutation(len(source.classes))[: scan.classes]
    rows = np.sort(rng.permutation(np.flatnonzero(np.isin(labels, chosen)))[: scan.samples])
    samples = [Sample(source.read(row), int(labels[row])) for row in rows.tolist()]
    return TROUBLES[scan.trouble](samples, rng)


def write(samples: Sequence[Sample], place: Path) -> Path:
    """A parquet file of images and labels."""
    images = [{"bytes": sample.image, "path": f"{row:05d}"} for row, sample in enumerate(samples)]
    labels = pa.array([sample.label for sample in samples], pa.int64())
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(images, kind), "label": labels}), place)
    return place


def outcome(result: Result, troubled: Troubled) -> dict[str, object]:
    """What came of a scan."""
    touched = result.table["action"].to_numpy(zero_copy_only=False) != "kept"
    mislabeled = np.zeros(len(touched), bool)
    mislabeled[troubled.mislabeled] = True
    return {
        "outcome": result.outcome,
        "attacked": [
            {"label": report.name, "samples": report.samples, "decided_by": asdict(report.decided_by)}
            for report in result.labels
            if report.decided_by
        ],
        "patterns": {report.name: len(report.pattern) for report in result.patterns},
        "scores": scores(result.labels),
        "labels": len(result.labels),
        "labels_not_judged": len(result.not_judged),
        "touched": int((touched & ~mislabeled).sum()),
        "touched_mislabeled": int((touched & mislabeled).sum()),
        "mislabeled": int(mislabeled.sum()),
        "gflop_per_sample": result.gflop_per_sample,
    }


def scores(reports: Sequence[LabelReport]) -> dict[str, list[float]]:
    """By kind of test and detector the score of every label, in order; 0 where the test was not made.

    Of models that have never seen the label it is the logarithm of its ratio to that of the median label.
    """
    found: dict[str, list[float]] = {}
    for place, report in enumerate(reports):
        for test in report.tests:
            own = found.setdefault(f"{test.kind} {test.detector}", [0.0] * len(reports))
            own[place] = round(math.log(test.evidence["times"]) if "times" in test.evidence else test.score, 4)
    return dict(sorted(found.items()))


def make(scan: Scan, source: Source, size: int | None, file: Path) -> dict[str, object]:
    """Scan one set, keep what came of it and return it."""
    start = time.perf_counter()
    troubled = drawn(scan, source)
    settings = {"index.size": size} if size else {}
    with tempfile.TemporaryDirectory() as folder:
        src = write(troubled.samples, Path(folder) / "set.parquet")
        result = elixir.api.scan(src, settings=settings, seed=scan.seed, quiet=True)
    found = outcome(result, troubled)
    seconds = time.perf_counter() - start
    on = {"version": elixir.__version__, "machine": machine(choose_device("cpu")), "seconds": seconds}
    replace_json(file, {**asdict(scan), "working_size": size, **found, **on})
    return found


def table(files: Sequence[Path]) -> str:
    """Markdown: false alarms, without and with trouble, and of each set, size and trouble."""
    results = [json.loads(file.read_text()) for file in sorted(files)]
    calm = [one for one in results if one["trouble"] == "none"]
    troubled = [one for one in results if one["trouble"] != "none"]
    groups = {"without trouble": calm, "with honest trouble": troubled}
    for some, key in ((calm, "set"), (calm, "samples"), (troubled, "trouble")):
        for value in sorted({one[key] for one in some}):
            groups[str(value).replace("_", " ")] = [one for one in some if one[key] == value]
    head = "| scans | | name a label | 95 % | tell a pattern | nothing judged | clean samples touched | of |"
    rows = [row(*group) for group in groups.items() if group[1]]
    return "\n".join([head, "|---|--:|--:|---|--:|--:|--:|--:|", *rows])


def row(name: str, some: Sequence[dict[str, Any]]) -> str:
    """One row of the table, about some scans; nothing is judged where models know too little of a set."""
    alarms = sum(bool(one["attacked"]) for one in some)
    least, most = binomial_interval(alarms, len(some))
    patterns = sum(bool(one["patterns"]) for one in some)
    unjudged = sum(one["labels"] == one["labels_not_judged"] for one in some)
    touched, samples = sum(one["touched"] for one in some), sum(one["samples"] - one["mislabeled"] for one in some)
    interval = f"{100 * least:.1f} to {100 * most:.1f} %"
    return f"| {name} | {len(some)} | {alarms} | {interval} | {patterns} | {unjudged} | {touched} | {samples} |"


def main() -> None:
    """Make all scans that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="*", help="NAME=SOURCE[:SIZE[:MOST]]")
    parser.add_argument("--part", default="1/1", help="which of how many parts of the scans")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    scans: list[tuple[Scan, Source, int | None]] = []
    for offset, one in enumerate(given.sets):
        name, _, place = one.partition("=")
        path, size, most = [*place.split(":"), "", ""][:3]
        source = open_source(path)
        planned = plan(name, offset, int(most or len(source.samples)), len(source.classes))
        scans += [(scan, source, int(size) if size else None) for scan in planned]
    scans.sort(key=lambda made: (made[0].samples, made[0].seed, made[0].set))
    part, parts = map(int, given.part.split("/"))
    for scan, source, size in scans[part - 1 :: parts]:
        file = given.out / f"{scan.name}.json"
        if not file.exists():
            print(scan.name, make(scan, source, size, file)["outcome"], flush=True)
    print(table(list(given.out.glob("*.json"))))


if __name__ == "__main__":
    main()
