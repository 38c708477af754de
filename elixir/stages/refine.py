"""Which samples of the attacked labels are poisoned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir.errors import ElixirError
from elixir.run.columns import Columns
from elixir.run.evidence import sharpen_until_stable
from elixir.run.run import Run
from elixir.stages.base import ReduceStage


@dataclass
class RefineStage(ReduceStage):
    """Within attacked labels, the group that the target stage has found is sharpened until it is stable.

    Not so where a pattern in the pixels has told the samples apart: nothing is sharper.

    Each round learns from the samples that the one before is sure about, on either side, and judges all. The threshold
    is low: a benign sample among the suspects gets its label back from the benign model, a poisoned one that is missed
    stays. In labels that are not under attack the suspicion is weighted by the label's score.

    Args:
        mark: suspicion from which a sample counts as one of the group.
        clear: suspicion below which it counts as none.
        threshold: suspicion from which a sample is a suspect.
    """

    name = "refine"
    mark: float = 0.2
    clear: float = 0.005
    threshold: float = 0.01

    def check(self) -> None:
        if not 0 < self.clear <= self.mark < 1 or not 0 < self.threshold < 1:
            raise ElixirError("refine.clear, refine.mark and refine.threshold must lie in (0, 1), clear below mark")

    def reduce(self, run: Run) -> Columns:
        labels = run.labels[run.readable_rows()]
        features = run.column("reference", "features")
        suspicion = run.column("retrial" if run.has("retrial") else "target", "suspicion").copy()
        suspect = np.zeros(len(labels), bool)
        score = run.findings.get("scores", {})
        weight = np.array([score.get(name, 0.0) for name in run.classes])
        weight[[target["label"] for target in run.findings["targets"]]] = 1
        suspicion *= weight[labels]
        for target in run.findings["targets"]:
            members = np.flatnonzero(labels == target["label"])
            if target["witness"] != "pattern":
                suspicion[members] = sharpen_until_stable(
                    features[members], suspicion[members], run.seed, self.mark, self.clear
                )
            suspect[members] = suspicion[members] > self.threshold
            target["suspects"] = int(suspect[members].sum())
        return {"suspicion": suspicion, "suspect": suspect}
