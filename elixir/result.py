"""What a run has found and done, read from the folder that it left."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from elixir.data.files import RUN_FOLDER
from elixir.models.classifier import SmallResNet, load_small_classifier
from elixir.run.manifest import read_manifest
from elixir.run.run import Cost

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Target:
    """A label under attack.

    Attributes:
        label: index of the class.
        name: of the class.
        confidence: how sure, in [0,1].
        suspects: samples of this label that carry the trigger.
        witness: which kind of evidence has decided (see `elixir.stages.target.TargetStage`), or "retrial".
        evidence: what the decision rests on, by name.
        clean_label: whether the suspects' labels are right and only the trigger is wrong.
    """

    label: int
    name: str
    confidence: float
    suspects: int
    witness: str
    evidence: dict[str, float]
    clean_label: bool = False


@dataclass(frozen=True)
class Result:
    """The outcome of `sanitize` or `scan`.

    Attributes:
        path: where it lies.
        targets: labels under attack; empty when there are none.
        table: the manifest, a row for every input sample (see `elixir.run.manifest.ManifestRow`).
        costs: wall seconds, network seconds and purifier calls of each stage.
        config: everything that decides the result.
    """

    path: Path
    targets: list[Target]
    table: pa.Table
    costs: dict[str, Cost]
    config: dict[str, Any]

    @property
    def counts(self) -> dict[str, int]:
        """Number of samples by action."""
        return dict(Counter(self.table.column("action").to_pylist()))

    @property
    def calls_per_sample(self) -> float:
        """Purifier network calls, averaged over the samples."""
        return sum(cost.calls for cost in self.costs.values()) / max(1, self.table.num_rows)

    @property
    def model(self) -> SmallResNet:
        """The benign model: trained on the set without the suspects.

        Raises:
            ElixirError: this run has left none.
        """
        return load_small_classifier(self.path / ".elixir" / "models" / "benign.safetensors")

    def dataset(self) -> datasets.Dataset:
        """The cleaned images and labels as a Hugging Face dataset."""
        import datasets

        kind = self.config["to"]
        if kind == "hf":
            loaded = datasets.load_from_disk(str(self.path))
            return loaded["train"] if isinstance(loaded, datasets.DatasetDict) else loaded
        if kind == "parquet":
            files = sorted(str(path) for path in self.path.rglob("*.parquet") if path.parent.name != RUN_FOLDER)
            return datasets.load_dataset("parquet", data_files=files, split="train")
        return datasets.load_dataset("imagefolder", data_dir=str(self.path), split="train")

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "path": str(self.path),
            "samples": self.table.num_rows,
            "actions": self.counts,
            "targets": [vars(target) for target in self.targets],
            "calls_per_sample": round(self.calls_per_sample, 2),
            "seconds": {name: round(cost.seconds, 1) for name, cost in self.costs.items()},
            "network_seconds": {name: round(cost.network_seconds, 1) for name, cost in self.costs.items()},
        }

    def summary(self, times: bool = True) -> str:
        """A few lines for people; without clock readings if not `times`."""
        counts = self.counts
        lines = [f"{self.table.num_rows} samples from {printable(self.config['source'])}"]
        if not self.targets:
            lines.append("no label under attack")
        lines += [
            f"under attack: {printable(target.name)} "
            f"({target.suspects} suspects, score {target.confidence:.3f}, {target.witness})"
            for target in self.targets
        ]
        lines.append(", ".join(f"{counts[action]} {action}" for action in sorted(counts)))
        unreadable = [
            (id, reason)
            for id, action, reason in zip(
                *(self.table.column(name).to_pylist() for name in ("id", "action", "reason")), strict=True
            )
            if action == "quarantined" and not reason.startswith("poisoned")
        ]
        lines += [f"set aside: {printable(id)}: {printable(reason)}" for id, reason in unreadable[:10]]
        if len(unreadable) > 10:
            lines.append(f"... and {len(unreadable) - 10} more, listed in .elixir/manifest.parquet")
        if times:
            spent = ", ".join(f"{name} {cost.seconds:.0f} s" for name, cost in self.costs.items())
            lines.append(f"time: {spent}; {self.calls_per_sample:.1f} network calls a sample")
        return "\n".join(lines) + "\n"


def read_result(folder: Path, path: Path | None = None) -> Result:
    """Read what a finished run has left in `folder`; `path` is where it is going to be, if that is elsewhere."""
    evidence = folder / ".elixir"
    findings = json.loads((evidence / "findings.json").read_text())
    costs = json.loads((evidence / "timings.json").read_text())
    return Result(
        path or folder,
        [Target(**target) for target in findings["targets"]],
        read_manifest(evidence / "manifest.parquet"),
        {name: Cost(**cost) for name, cost in costs.items()},
        json.loads((evidence / "run.json").read_text()),
    )


def printable(text: str) -> str:
    """The text of strangers, with control characters spelled out."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
