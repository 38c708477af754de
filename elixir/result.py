"""What a run has found and done, read from the folder that it left."""

import glob
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from elixir import schema
from elixir.data.backup import FILES
from elixir.data.io import RUN_FOLDER, read_json, write_table
from elixir.data.manifest import begins, class_names, counts, current_findings, current_names, read_manifest, where
from elixir.data.paths import printable, unescape
from elixir.data.shards.webdataset import open_webdataset
from elixir.data.source import describe_classes, listed
from elixir.data.tables.table import Choice, fingerprint
from elixir.detection.alarm_rate import rarity
from elixir.detection.reports import LabelReport, label_reports
from elixir.engine.cost import Cost
from elixir.errors import ElixirError
from elixir.models.classifier import Classifier
from elixir.models.trained import load_trained
from elixir.models.weights import read_weights
from elixir.options import SourceOptions

TOLD = 10  # labels under attack, each with a line of its own
CLEAN_LABEL = "the labels are right: a clean-label trigger, or an honest pattern such as a watermark or a date stamp"
NOTHING_JUDGED = (
    "NOT JUDGED: this says nothing about whether the set is poisoned; check that the classes are those that you mean, "
    "give more images of each, or look at them larger (--set index.size=64)"
)

NEARLY = 10
"""Times the alarm rate up to which a label that is not under attack is told."""
PATTERN_MEANS = (
    "no other label has it, and nothing says that their label is wrong, so they are kept; a watermark, date stamp or "
    "border, or a trigger that models have not learned"
)


@dataclass(frozen=True)
class AttackedLabel:
    """A label under attack.

    Attributes:
        flagged: samples of this label that look poisoned.
        score: of the test that decided, in [0,1].
        detector: whose group decided (see `elixir.detection.decide`).
        test: which test of it decided: "direct", "holdout" or "discrepancy".
        evidence: what the score rests on, by name.
        clean_label: whether the flagged samples' labels are right and only the trigger is wrong.
        false_alarms: labels of a clean set that would show as much in all tests together (see
            `elixir.detection.alarm_rate`); None if it is not known.
    """

    label: int
    name: str
    flagged: int
    score: float
    detector: str
    test: str
    evidence: dict[str, float]
    clean_label: bool = False
    false_alarms: float | None = None


@dataclass(frozen=True)
class Result:
    """The outcome of `sanitize` or `scan`.

    Attributes:
        path: where it lies; None when a scan was told no place.
        attacked: labels under attack; empty when there are none.
        labels: what was found out about every label.
        table: the manifest, a row for every input sample (see `elixir.data.manifest.ManifestRow`).
        costs: of each stage.
        config: everything that decides the result.
        unreadable_files: ids of samples, and paths of other files, that could not be read and so are not kept.
        notes: sentences for people about the input and the output as a whole (see `Source.notes` and `Sink.notes`).
    """

    path: Path | None
    attacked: list[AttackedLabel]
    labels: list[LabelReport]
    table: pa.Table
    costs: dict[str, Cost]
    config: dict[str, Any]
    unreadable_files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Number of samples by action."""
        return dict(counts(self.table["action"]))

    @property
    def counts_by_class(self) -> dict[str, Counter[str]]:
        """Number of samples by action, of each class that has some; "" stands for no label."""
        found: dict[str, Counter[str]] = {}
        for group in self.table.group_by(["class", "action"]).aggregate([([], "count_all")]).to_pylist():
            found.setdefault(group["class"], Counter())[group["action"]] = group["count_all"]
        return found

    @property
    def classes(self) -> dict[str, int]:
        """Samples of the input by class; a class may have none."""
        count = counts(self.table["label"])
        return {name: count[label] for label, name in enumerate(class_names(self.table))}

    @property
    def not_judged(self) -> list[LabelReport]:
        """Labels that were not judged, each with the reason; those under attack are not among them."""
        return [report for report in self.labels if report.not_judged]

    @property
    def patterns(self) -> list[LabelReport]:
        """Labels not under attack of which part of the samples share a pattern."""
        return [report for report in self.labels if report.pattern]

    @property
    def nearly(self) -> dict[str, float]:
        """False alarms of labels that were judged and are not under attack, but would be at `NEARLY` times the rate.

        Nothing that one in two clean sets shows is told.
        """
        most = min(NEARLY * self._alarm_rate, 0.5)
        doubtful = [report for report in self.labels if not report.decided_by and not report.not_judged]
        known = {report.name: report.false_alarms for report in doubtful}
        return {name: count for name, count in known.items() if count is not None and count <= most}

    @property
    def outcome(self) -> Literal["under attack", "none", "not judged"]:
        """In a word; "none" under attack only if every label was judged."""
        if self.attacked:
            return "under attack"
        return "none" if self.labels and not self.not_judged else "not judged"

    @property
    def has_dataset(self) -> bool:
        """Whether the run has written a dataset: neither a scan has, nor one that has written labels only."""
        return self.config.get("stages", {}).get("write", {}).get("dataset", True)

    @property
    def labels_only(self) -> bool:
        """Whether it has written new labels (`labels.csv`), and left the images where they are."""
        return self.config.get("stages", {}).get("write", {}).get("labels", False)

    @property
    def nfe_per_sample(self) -> float:
        """Function evaluations of the purifier's network, averaged over the samples."""
        return sum(cost.nfe for cost in self.costs.values()) / max(1, self.table.num_rows)

    @property
    def gflop_per_sample(self) -> float:
        """GFLOP of all networks, trainings included, averaged over the samples."""
        return sum(cost.gflop for cost in self.costs.values()) / max(1, self.table.num_rows)

    @property
    def model(self) -> Classifier:
        """The clean model, trained without the flagged samples; an ElixirError if this run has left none."""
        models = self._place / RUN_FOLDER / "models"
        of_02 = models / "benign.safetensors"
        return load_trained(of_02 if of_02.exists() else models / "clean.safetensors")

    @property
    def triggers(self) -> dict[int, Tensor]:
        """The estimated trigger of labels under attack, float32 (3, s, s) in [0,1] pixel units; none after a scan."""
        file = self._place / RUN_FOLDER / "models" / "triggers.safetensors"
        return {int(label): trigger for label, trigger in read_weights(file)[0].items()} if file.exists() else {}

    @property
    def _alarm_rate(self) -> float:
        return self.config.get("thresholds", {}).get("alarm_rate", 0.0)

    @property
    def _place(self) -> Path:
        if self.path is None:
            raise ElixirError("this scan has kept no files; give it a folder (dst) to keep them in")
        return self.path

    def dataset(self) -> datasets.Dataset:
        """The cleaned set, in the order of `table`, decoded when looked at; an ElixirError if none was written."""
        written = self.table.filter(pc.field("output") != "")
        if not written.num_rows:
            what = "this run has written no images; a scan never does, nor does --labels-only"
            raise ElixirError(f"{what}: use sanitize for a cleaned set")
        label = datasets.ClassLabel(names=class_names(self.table))
        labels = datasets.Dataset.from_dict(
            {"label": written.column("new_label").to_pylist()}, features=datasets.Features({"label": label})
        )
        if self.config["to"] in FILES:
            files = [_image(self._place.absolute() / unescape(path)) for path in written.column("output").to_pylist()]
            images = datasets.Dataset.from_dict({"image": files}, datasets.Features({"image": datasets.Image()}))
        else:
            images = _image_column(self._place, self.config)
        if len(images) != len(labels):
            raise ElixirError(f"{self.path} holds {len(images)} images, not {len(labels)}: it was changed; run again")
        return datasets.concatenate_datasets([images, labels], axis=1)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, as `elixir/schema/result.json` describes them."""
        return {
            "schema": schema.RESULT,
            "path": None if self.path is None else str(self.path),
            "samples": self.table.num_rows,
            "classes": self.classes,
            "actions": self.counts,
            "outcome": self.outcome,
            "attacked": [vars(label) for label in self.attacked],
            "not_judged": {report.name: report.not_judged for report in self.not_judged},
            "nearly": self.nearly,
            "patterns": {report.name: len(report.pattern) for report in self.patterns},
            "unreadable_files": self.unreadable_files,
            "notes": self.notes,
            "nfe_per_sample": round(self.nfe_per_sample, 2),
            "gflop_per_sample": round(self.gflop_per_sample, 2),
            "seconds": {name: round(cost.seconds, 1) for name, cost in self.costs.items()},
            "network_seconds": {name: round(cost.network_seconds, 1) for name, cost in self.costs.items()},
        }

    def losses(self) -> str:
        """A line for people about what could not be copied."""
        some = ", ".join(printable(path) for path in self.unreadable_files[:5])
        more = ", ... (all in .elixir/findings.json)" if len(self.unreadable_files) > 5 else ""
        return f"{len(self.unreadable_files)} files could not be read and so not copied: {some}{more}"

    def described_classes(self) -> str:
        """A line for people about the classes of the input."""
        return describe_classes(class_names(self.table), self.table["label"].to_numpy())

    def findings(self) -> list[str]:
        """Lines for people: which labels are under attack, share a pattern, or were not judged."""
        judged = len(self.labels) - len(self.not_judged)
        if self.attacked:
            lines = [_told(label) for label in self.attacked[:TOLD]]
            if len(self.attacked) > TOLD:
                lines.append(f"... and {len(self.attacked) - TOLD} more labels under attack, see the report")
        elif not judged:
            lines = [NOTHING_JUDGED]
        elif self.not_judged:
            lines = [f"no label under attack among the {judged} that could be judged"]
        else:
            lines = ["no label under attack"]
        if self.nearly:
            rare = [f"{name} ({rarity(count)} clean sets would show as much)" for name, count in self.nearly.items()]
            lines.append(f"nearly under attack: {listed(rare)}: kept, as the alarm rate is {self._alarm_rate:g}")
        if self.patterns:
            shares = [f"{report.name} ({len(report.pattern)} of {report.samples} samples)" for report in self.patterns]
            lines.append(f"some share a pattern: {listed(shares)}: {PATTERN_MEANS}")
        for reason in dict.fromkeys(report.not_judged for report in self.not_judged):
            alike = [
                f"{report.name} ({report.samples} samples)" for report in self.not_judged if report.not_judged == reason
            ]
            lines.append(f"not judged: {listed(alike)}: {reason}")
        return lines

    def summary(self, times: bool = True) -> str:
        """A few lines for people; without clock readings if not `times`."""
        actions, table = self.counts, self.table
        lines = [f"{self.table.num_rows} samples from {printable(self.config['source'])}", self.described_classes()]
        lines += self.findings()
        lines.append(", ".join(f"{actions[action]} {action}" for action in sorted(actions)))
        if decided := self.table.filter(pc.field("decision") != "").num_rows:
            lines.append(f"decided by people: {decided}")
        is_aside = where(table, "action", "quarantined") & ~begins(table, "reason", "poisoned")
        aside = table.select(["id", "reason"]).filter(pa.array(is_aside))
        for row in aside.slice(0, 10).to_pylist():
            lines.append(f"set aside: {printable(row['id'])}: {printable(row['reason'])}")
        if aside.num_rows > 10:
            lines.append(f"... and {aside.num_rows - 10} more, listed in .elixir/manifest.parquet")
        if self.unreadable_files:
            lines.append(self.losses())
        lines += [f"note: {printable(note)}" for note in self.notes]
        if times:
            spent = ", ".join(f"{name} {cost.seconds:.0f} s" for name, cost in self.costs.items())
            lines.append(
                f"time: {spent}; {self.nfe_per_sample:.1f} function evaluations of the purifier "
                f"and {self.gflop_per_sample:.0f} GFLOP a sample"
            )
        return "\n".join(lines) + "\n"


def _told(label: AttackedLabel) -> str:
    """A line for people."""
    told = f"{label.flagged} flagged, score {label.score:.3f}, {label.detector}"
    if label.false_alarms is not None:
        told += f"; {rarity(label.false_alarms)} clean sets would show as much"
    told = f"under attack: {printable(label.name)} ({told})"
    return f"{told}; {CLEAN_LABEL}" if label.clean_label else told


def read_result(folder: Path, path: Path | None = None) -> Result:
    """Read what a finished run has left in `folder`; `path` is where it is going to be, if that is elsewhere."""
    evidence = folder / RUN_FOLDER
    findings, costs, config = (
        read_json(evidence / f"{name}.json", "give what `elixir sanitize` has written")
        for name in ("findings", "timings", "run")
    )
    table = read_manifest(evidence / "manifest.parquet")
    findings = current_findings(findings, table)
    reports = label_reports(findings)
    return Result(
        path or folder,
        _attacked(reports, table, findings.get("triggers", {})),
        reports,
        table,
        {name: Cost(**current_names(cost)) for name, cost in costs.items()},
        config,
        findings.get("unreadable_files", []),
        findings.get("notes", []),
    )


def _attacked(reports: list[LabelReport], table: pa.Table, triggers: dict[str, Any]) -> list[AttackedLabel]:
    flagged = counts(table.select(["label", "flagged"]).filter(pc.field("flagged"))["label"])
    attacked = []
    for report in reports:
        if test := report.decided_by:
            trigger = triggers.get(str(report.label), {})
            evidence = test.evidence | {f"{name}_effect": effect for name, effect in trigger.get("effect", {}).items()}
            attacked.append(
                AttackedLabel(
                    report.label,
                    report.name,
                    flagged[report.label],
                    round(test.score, 4),
                    test.detector,
                    test.kind,
                    {name: round(value, 4) for name, value in evidence.items()},
                    trigger.get("clean_label", False),
                    report.false_alarms,
                )
            )
    return attacked


def write_label_reports(path: Path, reports: Sequence[LabelReport]) -> None:
    """Write a parquet file with a row for every label, detector and test."""
    rows = [
        {
            "label": report.label,
            "class": report.name,
            "samples": report.samples,
            "attacked": report.decided_by is not None,
            "not_judged": report.not_judged,
            "detector": test.detector,
            "test": test.kind,
            "group_size": test.group_size,
            "score": test.score,
            "counts_as": test.counts_as,
            "surprise": test.surprise,
            "false_alarms": report.false_alarms,
            "passed": test.passed,
            "decides": test == report.decided_by,
            "evidence": json.dumps(test.evidence),
        }
        for report in reports
        for test in report.tests
    ]
    write_table(path, pa.Table.from_pylist(rows))


def _image(path: Path) -> dict[str, Any]:
    """What stands for an image in a dataset: its path, or its bytes where the path is no text."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return {"bytes": path.read_bytes(), "path": None}
    return {"bytes": None, "path": str(path)}


def output_options(config: Mapping[str, Any]) -> SourceOptions:
    """Columns or fields, split and links, by which the output of a run with these settings is opened."""
    shape = {"folder": "class folders", "list": "list", "webdataset": "shards"}
    old = "folder" if config.get("label") is None else "hf"  # of 0.2, which did not say it
    of, to = (shape.get(kind, "table") for kind in (config.get("kind", old), config.get("to", "folder")))
    options: SourceOptions = {"follow_links": True} if config.get("link") == "symbolic" else {}
    if of == to:
        options |= {"image": config.get("image"), "label": config.get("label"), "split": config.get("split")}
    return options


def _image_column(folder: Path, config: Mapping[str, Any]) -> datasets.Dataset:
    facts = read_json(folder / RUN_FOLDER / "restore.json", "give the output folder of a finished run")
    places = [str(folder / place) for _, place in facts["outputs"]]
    if config["to"] == "webdataset":
        options, files = output_options(config), [folder / unescape(place) for _, place in facts["outputs"]]
        state = fingerprint(files)  # so that what the cache has of other files is not taken
        told = {"files": files, "image": options.get("image"), "label": options.get("label"), "_state": state}
        features = datasets.Features({"image": datasets.Image()})
        return cast(datasets.Dataset, datasets.Dataset.from_generator(_shard_images, features, gen_kwargs=told))
    if config["to"] == "hf":
        rows = datasets.Dataset.load_from_disk(places[0])
    else:
        rows = datasets.load_dataset("parquet", data_files=list(map(glob.escape, places)), split="train")
    column = facts.get("image", "image")
    return rows.select_columns([column]).rename_columns({column: "image"}).cast_column("image", datasets.Image())


def _shard_images(files: list[Path], image: str | None, label: str | None, _state: str) -> Iterator[dict[str, Any]]:
    source = open_webdataset(files, Choice(image, label), str(files[0].parent))
    for row in range(len(source.samples)):
        yield {"image": {"bytes": source.read(row), "path": None}}
