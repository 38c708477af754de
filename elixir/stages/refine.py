"""Which samples of the attacked labels are poisoned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir.run.evidence import sharpen
from elixir.run.run import Run
from elixir.stages.base import Columns, ReduceStage


@dataclass
class RefineStage(ReduceStage):
    """Within attacked labels, the group is taken as the mark and sharpened again until it stays the same.

    Args:
        rounds: at most.
        strength: inverse regularisation of the regression on features.
    """

    name = "refine"
    rounds: int = 5
    strength: float = 0.01

    def reduce(self, run: Run) -> Columns:
        labels = run.labels[run.readable_rows()]
        features = run.columns("reference")["features"]
        suspicion = run.columns("target")["suspicion"].copy()
        attacked = [target["label"] for target in run.findings["targets"]]
        suspect = np.isin(labels, attacked) & (suspicion > 0.5)
        for target in run.findings["targets"]:
            members = np.flatnonzero(labels == target["label"])
            for _ in range(self.rounds):
                before = suspect[members]
                suspicion[members] = sharpen(features[members], before, self.strength, run.seed)
                suspect[members] = suspicion[members] > 0.5
                if np.array_equal(before, suspect[members]):
                    break
            target["suspects"] = int(suspect[members].sum())
        return {"suspicion": suspicion, "suspect": suspect}
