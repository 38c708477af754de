"""The outcome of a sanitization compared with the truth that `elixir poison` wrote."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score

from elixir.data.source import Source
from elixir.errors import ElixirError, explaining
from elixir.models.weights import read_weights
from elixir.registry import find


@dataclass(frozen=True)
class Recovery:
    """Numbers of samples and shares of them, in [0,1]; cover samples count as neither poisoned nor clean.

    Nor do clean samples without a score, which could not be read or have no label.

    Attributes:
        tpr: true positive rate, the share of poisoned samples that were changed or set aside.
        fpr: false positive rate, the share of clean samples that were changed or set aside.
        relabelled: share of poisoned samples with another label and a new image in the output.
        replaced: share of poisoned samples with a new image in the output, whatever their label.
        relabel_accuracy: share of poisoned samples with their true label in the output.
        removed: share of poisoned samples that are not in the output.
        auc: area under the ROC curve of the poison score, poisoned against clean; None without one of them.
    """

    poisoned: int
    clean: int
    covers: int
    tpr: float
    fpr: float
    relabelled: float
    replaced: float
    relabel_accuracy: float
    removed: float
    covers_changed: float
    auc: float | None


def recovery(manifest: pa.Table, truth: pa.Table) -> Recovery:
    """Compare a manifest (`Result.table`) with the truth; an ElixirError if that belongs to another dataset."""
    known = {row["output"]: row for row in truth.select(["output", "truth", "class"]).to_pylist()}
    ids, actions, new_classes = (manifest.column(key).to_numpy() for key in ("id", "action", "new_class"))
    if not set(ids) <= known.keys():
        raise ElixirError("the truth belongs to another dataset: some samples of the manifest are not in it")
    what, classes = (np.array([known[id][key] for id in ids], object) for key in ("truth", "class"))
    changed, relabelled, purified = actions != "kept", actions == "relabelled", actions == "purified"
    poisoned, clean, covers = (what == kind for kind in ("poisoned", "clean", "cover"))
    score = manifest.column("poison_score").to_numpy()
    clean &= ~np.isnan(score)
    judged = (poisoned | clean) & ~np.isnan(score)
    both = poisoned.any() and clean.any()

    def share(mask: np.ndarray, of: np.ndarray) -> float:
        return float(mask[of].mean()) if of.any() else 0.0

    return Recovery(
        poisoned=int(poisoned.sum()),
        clean=int(clean.sum()),
        covers=int(covers.sum()),
        tpr=share(changed, poisoned),
        fpr=share(changed, clean),
        relabelled=share(relabelled, poisoned),
        replaced=share(relabelled | purified, poisoned),
        relabel_accuracy=share(new_classes == classes, poisoned),
        removed=share(new_classes == "", poisoned),
        covers_changed=share(changed, covers),
        auc=float(roc_auc_score(poisoned[judged], score[judged])) if both else None,
    )


def read_truth(path: Path) -> pa.Table:
    """The truth that `elixir poison` wrote; an ElixirError for no file or another kind of file."""
    what = f"{path} is not the truth file that `elixir poison` writes beside its output"
    with explaining((OSError, pa.ArrowInvalid, KeyError), what):
        table = pq.read_table(path)
        if "earlier" not in table.column_names:
            table = table.append_column("earlier", _earlier(table))
        return table.select(["id", "output", "truth", "class", "earlier"])


def _earlier(truth: pa.Table) -> pa.Array:
    """Which rows are of an earlier attack, by its name and seed: all that a truth file of version 0.1 says."""
    record = _metadata(truth)
    latest = (record.get("attack"), record.get("plan", {}).get("seed"))
    rows = zip(truth.column("attack").to_pylist(), truth.column("seed").to_pylist(), strict=True)
    return pa.array([row != latest for row in rows], pa.bool_())


def last_attack(truth: pa.Table) -> pa.Table:
    """The truth without what an earlier attack had poisoned before: the rows of the attack that it is about."""
    return truth.filter(pc.call_function("invert", [truth.column("earlier")]))


def unpoisoned(source: Source) -> pa.Table:
    """The truth about a dataset that is not poisoned."""
    ids = list(source.samples.ids)
    names = [*source.classes, ""]  # label -1 has no name
    classes = [names[sample.label] for sample in source.samples]
    return pa.table({"id": ids, "output": ids, "truth": ["clean"] * len(ids), "class": classes})


def attack_of(path: Path) -> tuple[Any, str | None]:
    """The attack whose truth this is, as it was fitted to the dataset, and its target class; None for all-to-all."""
    record = _metadata(read_truth(path))
    try:
        attack = find("attacks", record["attack"]).configure(record["settings"])
        target, weights = record["target"], record.get("weights")
    except KeyError:
        raise ElixirError(f"{path} does not say which attack it is about: give --attack and --target") from None
    if weights is not None:
        attack = attack.with_weights(read_weights(path.with_name(Path(weights).name))[0])
    return attack, target


def attacked_classes(path: Path) -> list[str] | None:
    """The classes of the dataset that was attacked, in its order; None where the truth does not say."""
    return _metadata(read_truth(path)).get("classes")


def _metadata(truth: pa.Table) -> dict[str, Any]:
    """What `elixir poison` has written about the attack, besides the samples."""
    return json.loads((truth.schema.metadata or {}).get(b"elixir", b"{}"))
