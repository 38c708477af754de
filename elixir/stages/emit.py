"""Last stage: the cleaned dataset, and a manifest with a row for every input sample."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.data.manifest import ManifestRow, write_manifest
from elixir.data.open import open_sink
from elixir.data.sink import Decision
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage


@dataclass
class EmitStage(ReduceStage):
    """Writes everything in ascending order of the rows; done anew from the start after an interruption.

    Args:
        dataset: also write the images. Without them the manifest says what would become of every sample, though the
            trigger may turn out to stay in some.
        verdicts: stage that has judged the suspects: columns `verdict` (poisoned, benign, undecided), `label` and
            perhaps `confidence` in [0,1]. New images of poisoned ones lie at `Run.selected_path`.
        scores: stage that has given every readable sample a `suspicion` in [0,1].
    """

    name = "emit"
    dataset: bool = True
    verdicts: str = "relabel"
    scores: str = "refine"

    def needs(self) -> tuple[str, ...]:
        return ("index", self.verdicts, self.scores)

    def reduce(self, run: Run) -> Columns:
        if run.output.exists():
            shutil.rmtree(run.output)
        (run.output / ".elixir").mkdir(parents=True)
        sink = open_sink(run.to, run.output, run.source) if self.dataset else None
        index = run.columns("index")
        verdicts = run.columns(self.verdicts)
        scores = run.columns(self.scores)
        repairs = _repairs(run)
        confidence = np.full(len(run.labels), np.nan, np.float32)
        confidence[verdicts["row"]] = verdicts.get("confidence", np.nan)
        position = np.full(len(run.labels), -1)
        position[run.readable_rows()] = np.arange(len(run.readable_rows()))
        suspect = np.full(len(run.labels), -1)
        suspect[verdicts["row"]] = np.arange(len(verdicts["row"]))

        def rows():
            for row, sample in enumerate(run.source.samples):
                decision, reason = Decision("kept", sample.label), ""
                if not index["readable"][row]:
                    decision, reason = Decision("quarantined", sample.label), str(index["problem"][row])
                elif suspect[row] >= 0:
                    decision, reason = self._decide(run, row, verdicts, suspect[row], repairs.get(row, ""))
                output = sink.write(row, decision) if sink else ""
                original = sink.original(row, decision) if sink else ""
                digest = str(index["sha256"][row])
                if sink and digest:
                    run.read(row)  # last, so that what has been written is what was looked at
                written = hashlib.sha256(decision.data).hexdigest() if decision.data else digest
                yield ManifestRow(
                    id=sample.id,
                    name=sample.name,
                    label=sample.label,
                    new_label=decision.label if decision.written else -1,
                    output=output,
                    action=decision.action,
                    reason=reason,
                    sha256_in=digest,
                    sha256_out=written if sink and decision.written else "",
                    height=int(index["shape"][row][0]),
                    width=int(index["shape"][row][1]),
                    suspicion=float(scores["suspicion"][position[row]]) if position[row] >= 0 else float("nan"),
                    confidence=float(confidence[row]),
                    seed=run.seed,
                    original=original,
                )

        write_manifest(run.output / ".elixir" / "manifest.parquet", rows(), run.classes)
        if sink:
            sink.close()
            run.findings["uncopied"] = sink.uncopied
        return {}

    def _decide(self, run: Run, row: int, verdicts: Columns, suspect: int, repair: str) -> tuple[Decision, str]:
        verdict, label = str(verdicts["verdict"][suspect]), int(verdicts["label"][suspect])
        given = int(run.labels[row])
        if verdict == "benign":
            return Decision("kept", given), "suspected, but the benign model confirms its label"
        if run.policy == "drop":
            return Decision("dropped", given), "poisoned"
        if run.policy == "quarantine" or verdict == "undecided":
            return Decision("quarantined", given), "poisoned" if verdict != "undecided" else "poisoned, label uncertain"
        path = run.selected_path(row)
        if self.dataset and not path.exists():
            return Decision("quarantined", given), "poisoned, and the trigger could not be taken out"
        data = path.read_bytes() if self.dataset else None
        if label == given:
            return Decision("purified", label, data), f"poisoned, its label is right{repair}"
        return Decision("relabelled", label, data), f"poisoned{repair}"


def _repairs(run: Run) -> dict[int, str]:
    """How the select stage has come to the picture of each row, for the reason; none in a recipe without it."""
    chosen = run.columns("select") if run.has("select") else {}
    if "sigma" not in chosen:
        return {}
    texts = [
        f"; purified at sigma {sigma:g}" if sigma else "; only the trigger is taken out" for sigma in chosen["sigma"]
    ]
    return dict(zip(chosen["row"].tolist(), texts, strict=True))
