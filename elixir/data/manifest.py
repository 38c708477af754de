"""The manifest: what became of every input sample, as a parquet file."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import eq
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elixir.data.io import ROWS_AT_ONCE, map_table, replacing
from elixir.data.sink import Action, is_written
from elixir.data.source import Samples

SHARES_PATTERN = "shares a pattern with others of its label"
"""Why a sample that is kept may deserve a look."""


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One input sample.

    Attributes:
        name: file name below its class.
        label: given label, -1 for none.
        new_label: label in the output, or after a scan the proposed one; -1 when the sample is not to be in it.
        output: path or row in the output, "" when it is not in it.
        action: kept, purified, relabelled, dropped or quarantined.
        reason: why, in a few words; "" for what was never in doubt. A sample that is kept because its label could not
            be judged has a reason that begins with "not judged", one with a pattern that part of its label shares
            `SHARES_PATTERN`.
        sha256_in: of the encoded image in the source, "" when it could not be read.
        sha256_out: of the encoded image in the output, "" when it is not in it.
        height, width: pixels, 0 when unreadable.
        poison_score: how far it looks poisoned, in [0,1]; NaN when unreadable.
        flagged: whether it counts as one that may be poisoned and was looked at again.
        confidence: probability by the clean model of the label that it reads in a flagged sample, in [0,1]; NaN for
            others.
        original: path of the kept original, "" when the sample is untouched or could not be read.
        decision: what somebody has decided about the sample, over what Elixir has: keep, relabel or drop; "" if nobody.
        decided_by, decided_at: who and when, see `elixir.data.decisions.HumanDecision`.
    """

    id: str
    name: str
    label: int
    new_label: int
    output: str
    action: Action
    reason: str
    sha256_in: str
    sha256_out: str
    height: int
    width: int
    poison_score: float
    flagged: bool
    confidence: float
    seed: int
    original: str
    decision: str = ""
    decided_by: str = ""
    decided_at: str = ""

    @property
    def written(self) -> bool:
        """Whether the sample is in the output."""
        return is_written(self.action)

    @property
    def usable(self) -> bool:
        """Whether the sample could be read and has a label; only then it can be in the output."""
        return self.height > 0


RENAMED = {"suspicion": "poison_score", "uncopied": "unreadable_files", "calls": "nfe"}
"""What outputs of Elixir 0.2 call otherwise: columns of the manifest, and facts in their JSON files."""
RENAMED_WORDS = {
    "trigger": "joint",
    "cause": "trigger_transfer",
    "contradiction": "label_disagreement",
    "pattern": "spectral_split",
    "core": "seed",
    "retrial": "expanded",
    "drop": "noise_sensitivity",
    "transplant": "trigger_transfer",
    "common_transplant": "group_transfer",
    "difference_transplant": "difference_transfer",
    "denied": "disagrees",
    "beyond_others": "excess_disagreement",
    "sure_of_another": "other_label",
}
"""Likewise the detectors in its findings, and what their scores rest on."""

_TYPES = {str: pa.string(), Action: pa.string(), int: pa.int64(), float: pa.float32(), bool: pa.bool_()}
_FIELDS = [pa.field(name, _TYPES[kind]) for name, kind in ManifestRow.__annotations__.items()]
_CLASSES = [pa.field("class", pa.string()), pa.field("new_class", pa.string())]
_DECIDED = ("decision", "decided_by", "decided_at")
SCHEMA = pa.schema([*_FIELDS[: -len(_DECIDED)], *_CLASSES, *_FIELDS[-len(_DECIDED) :]])


def write_manifest(path: Path, rows: Iterable[ManifestRow], classes: list[str]) -> None:
    """Write the rows with their class names, some at a time; the names of all classes are in the schema's metadata."""
    remaining = iter(rows)
    with (
        replacing(path, path.with_name(path.name + ".partial")) as partial,
        pq.ParquetWriter(partial, SCHEMA.with_metadata({"classes": json.dumps(classes)})) as writer,
    ):
        while block := list(islice(remaining, ROWS_AT_ONCE)):
            columns = {field.name: [getattr(row, field.name) for row in block] for field in _FIELDS}
            columns["class"] = [_name(row.label, classes) for row in block]
            columns["new_class"] = [_name(row.new_label, classes) for row in block]
            writer.write_table(pa.table(columns, SCHEMA))


def read_manifest(path: Path) -> pa.Table:
    """The manifest, a row for every input sample in order of the source, see `map_table`.

    Raises: ElixirError: it is missing or damaged.
    """
    table = map_table(path, "give what `elixir sanitize` has written")
    renamed = table.rename_columns([RENAMED.get(name, name) for name in table.column_names])
    if "flagged" not in renamed.column_names:  # 0.2 gave a reason to each of them, and else to unreadable ones only
        told = zip(renamed["reason"].to_pylist(), renamed["height"].to_pylist(), strict=True)
        flagged = [bool(reason) and height > 0 for reason, height in told]
        renamed = renamed.append_column("flagged", [flagged])
    for name in _DECIDED:
        if name not in renamed.column_names:  # nobody could decide
            renamed = renamed.append_column(name, pa.repeat("", renamed.num_rows))
    return renamed.select(SCHEMA.names).replace_schema_metadata(table.schema.metadata)


def manifest_rows(manifest: pa.Table) -> Iterator[ManifestRow]:
    """The rows of a manifest."""
    names = [field.name for field in _FIELDS]
    for batch in manifest.select(names).to_batches(ROWS_AT_ONCE):
        yield from (ManifestRow(**row) for row in batch.to_pylist())


def some_rows(manifest: pa.Table, rows: np.ndarray) -> pa.Table:
    """Different rows, int64 (n,), in this order; `take` would put all chunks of the table together first."""
    chosen = np.zeros(manifest.num_rows, bool)
    chosen[rows] = True
    return manifest.filter(pa.array(chosen)).take(rows.argsort().argsort())


def counts(column: pa.ChunkedArray) -> Counter[Any]:
    """How often each value of a column occurs."""
    return Counter({pair["values"]: pair["counts"] for pair in column.value_counts().to_pylist()})


def texts(column: pa.ChunkedArray) -> Iterator[str]:
    """The values of a column of text, one after the other."""
    return (text for chunk in column.chunks for text in chunk.to_pylist())


def lists(manifest: pa.Table, samples: Samples) -> bool:
    """Whether the rows are these samples, by id and label, in order."""
    same_labels = np.array_equal(samples.labels, manifest["label"].to_numpy())
    return same_labels and all(map(eq, samples.ids, texts(manifest["id"])))


def where(manifest: pa.Table, name: str, value: str) -> np.ndarray:
    """In which rows a column of text has a value, bool (n,)."""
    return pc.call_function("equal", [manifest[name], pa.scalar(value)]).to_numpy()


def begins(manifest: pa.Table, name: str, start: str) -> np.ndarray:
    """In which rows the value of a column of text begins with another text, bool (n,)."""
    return pc.call_function("starts_with", [manifest[name]], pc.MatchSubstringOptions(start)).to_numpy()


def current_names(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts of a run, such as those in `restore.json`, under the names of today if the run was one of 0.2."""
    return {RENAMED.get(name, name): value for name, value in facts.items()}


def current_findings(findings: dict[str, Any], manifest: pa.Table) -> dict[str, Any]:
    """Findings of a run with the facts `labels` and `triggers` of today, also if the run was one of 0.2.

    Of each label 0.2 kept the decisive test and the best direct score. It did not say whose that score is unless it
    decides: the detector is then "unknown" and the group has 0 samples.
    """
    facts = current_names(findings)
    if "labels" in facts:
        return facts
    readable = manifest.filter(pc.field("height") > 0)
    samples, direct = counts(readable["label"]), facts.get("scores", {})
    decisive = {target["label"]: _decisive_test(target) for target in facts["targets"]}
    facts["labels"] = []
    for label, name in enumerate(class_names(manifest)):
        tests = [decisive[label]] if label in decisive else []
        if name in direct and not any(test["kind"] == "direct" for test in tests):
            unknown = {"detector": "unknown", "kind": "direct", "group_size": 0}
            tests.insert(0, unknown | {"score": direct[name], "passed": False})
        report = {"label": label, "name": name, "samples": samples[label], "tests": tests}
        if samples[label]:
            facts["labels"].append(report | {"decided_by": decisive.get(label)})
    facts["triggers"] = {str(target["label"]): _trigger(target) for target in facts["targets"]}
    return facts


def class_names(manifest: pa.Table) -> list[str]:
    """Names of the labels, which `label` and `new_label` are indices of."""
    return json.loads(manifest.schema.metadata[b"classes"])


def _decisive_test(target: dict[str, Any]) -> dict[str, Any]:
    """The test that has put a label of a run of 0.2 under attack, as a `LabelTest` in plain values."""
    detector, evidence = target["witness"], target["evidence"]
    held_out = "holdout" if "sure_of_another" in evidence else "direct"
    return {
        "detector": RENAMED_WORDS.get(detector, detector),
        "kind": "discrepancy" if detector == "discrepancy" else held_out,
        "group_size": target["suspects"],
        "score": target["score"],
        "passed": True,
        "evidence": {
            RENAMED_WORDS.get(name, name): value for name, value in evidence.items() if not name.endswith("_cause")
        },
    }


def _trigger(target: dict[str, Any]) -> dict[str, Any]:
    """What 0.2 has found out about the trigger of a label under attack."""
    evidence = target["evidence"].items()
    effect = {name.removesuffix("_cause"): value for name, value in evidence if name.endswith("_cause")}
    return {"clean_label": target.get("clean_label", False), "effect": effect}


def _name(label: int, classes: list[str]) -> str:
    return classes[label] if label >= 0 else ""
