"""Scans poisoned sets, asks every detector and test about the attacked labels, and prints what each is worth.

    python notebooks/false_alarms/poisoned.py poisoned signs=signs-third.parquet:stop:50

Each set is NAME=SOURCE:TARGET:TARGET, the second target for attacks that leave the labels as they are. One JSON file a
scan, so that the command goes on where it was stopped; without sets it prints the table alone. Surprises are made from
the scores by the numbers of the code at hand, as a scan does.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from scans import scores
from tails import TESTS

import elixir
from elixir.data.io import replace_json
from elixir.detection import alarm_rate
from elixir.detection.alarm_rate import false_alarms, rarity
from elixir.detection.thresholds import Thresholds
from elixir.evaluation.truth import read_truth
from elixir.measurement.machine import machine
from elixir.models.device import choose_device
from elixir.registry import find
from elixir.result import Result

CELLS = (
    ("badnets", 0.01, {}),
    ("badnets", 0.003, {}),
    ("blended", 0.01, {}),
    ("ssba", 0.1, {}),
    ("wanet", 0.1, {}),
    ("ftrojan", 0.1, {}),
    ("low_frequency", 0.1, {}),
    ("input_aware", 0.1, {}),
    ("sig", 0.8, {}),
    ("sig", 0.2, {}),
    ("label_consistent", 0.8, {}),
    ("label_consistent", 0.2, {}),
    ("colour", 0.03, {}),
    ("adap_blend", 0.05, {}),
    ("adap_patch", 0.02, {}),
)
LEAST_POISONED = 5  # samples of a label that counts as attacked
NEVER = 1e-300  # alarm rate at which no score is enough, so that every detector is asked


def make(path: str, targets: Sequence[str], attack: str, rate: float, settings: dict[str, Any]) -> dict[str, Any]:
    """Poison and scan one set; what every test says of its attacked labels."""
    clean_label = find("attacks", attack).clean_label
    with tempfile.TemporaryDirectory() as folder:
        src = Path(folder) / "poisoned"
        done = elixir.api.poison(path, src, attack, targets[clean_label], rate=rate, settings=settings, quiet=True)
        result = elixir.api.scan(src, settings={"thresholds.alarm_rate": NEVER}, quiet=True)
        truth = read_truth(done.truth)
    poisoned = set(truth.filter(pc.field("truth") == "poisoned")["output"].to_pylist())
    sizes = {"labels": len(result.labels), "samples": result.table.num_rows}
    return {"attacked": list(told(result, poisoned))} | sizes


def told(result: Result, poisoned: set[str]) -> Iterator[dict[str, Any]]:
    """Of each attacked label the scores of all tests."""
    labels = zip(result.table["id"].to_pylist(), result.table["label"].to_pylist(), strict=True)
    held = [label for id, label in labels if id in poisoned]
    for report in result.labels:
        if held.count(report.label) >= LEAST_POISONED:
            yield {
                "label": report.name,
                "samples": report.samples,
                "poisoned": held.count(report.label),
                "scores": {test: score for test, (score,) in scores([report]).items()},
                "pattern": len(report.pattern),
            }


USUAL = {test: getattr(alarm_rate, name) for name, tests in TESTS.items() for test in tests}
KINDS = tuple(dict.fromkeys(usual.kind for usual in USUAL.values()))


def table(files: Sequence[Path]) -> str:
    """Markdown: how much each kind of test surprises, how rare that is in all, and without which test it is missed."""
    head = ["set, attack, share", "label: poisoned of", *KINDS, "clean sets", "missed without", "pattern told"]
    rows = [f"| {' | '.join(head)} |", "|---|---|" + "--:|" * len(KINDS) + "--:|---|--:|"]
    for file in sorted(files):
        cell = json.loads(file.read_text())
        for label in cell["attacked"]:
            of_kind = [surprise(label["scores"], kind) for kind in KINDS]
            alarms = false_alarms(sum(of_kind), cell["labels"])
            what = f"{cell['set']}, {cell['attack']}, {100 * cell['rate']:g} %"
            size = f"{label['label']}: {label['poisoned']} of {label['samples']}"
            told = [f"{one:.1f}" if one else "" for one in of_kind]
            needed = ", ".join(needed_tests(label["scores"], cell["labels"])) if is_rare(alarms) else "not named"
            cells = [what, size, *told, rarity(alarms), needed, str(label["pattern"] or "")]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def surprise(scores: Mapping[str, float], kind: str) -> float:
    """The greatest of a kind of test, in nats."""
    return max(usual.surprise(scores.get(test, 0.0)) for test, usual in USUAL.items() if usual.kind == kind)


def needed_tests(scores: Mapping[str, float], labels: int) -> Iterator[str]:
    """Tests without which a label is not named."""
    for test in scores:
        rest = {name: score for name, score in scores.items() if name != test}
        if not is_rare(false_alarms(sum(surprise(rest, kind) for kind in KINDS), labels)):
            yield test


def is_rare(alarms: float) -> bool:
    """Whether a label is named that so many clean sets have."""
    return alarms <= Thresholds().alarm_rate


def main() -> None:
    """Make all scans that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="*", help="NAME=SOURCE:TARGET:TARGET")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for one in given.sets:
        name, _, place = one.partition("=")
        path, *targets = place.split(":")
        for attack, rate, settings in CELLS:
            file = given.out / f"{name}-{attack}-{rate}.json"
            if not file.exists():
                print(file.stem, flush=True)
                cell = {"set": name, "attack": attack, "rate": rate, "settings": settings}
                on = {"version": elixir.__version__, "machine": machine(choose_device("cpu"))}
                replace_json(file, cell | make(path, targets, attack, rate, settings) | on)
    print(table(list(given.out.glob("*.json"))))


if __name__ == "__main__":
    main()
