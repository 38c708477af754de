"""Which samples of the attacked labels are poisoned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from elixir.data.columns import Columns
from elixir.detection.detail import detail
from elixir.detection.evidence import lost
from elixir.detection.group import LEAST, STABLE, by_odds, sharpen_until_stable, sharpen_with
from elixir.detection.reading import log_probabilities
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.errors import ElixirError
from elixir.randomness import generator
from elixir.settings import Count, Share, Steps
from elixir.training.classifier import ClassifierTraining, ReadPixels

CAUSAL = ("trigger", "cause")  # witnesses who have seen a cause in the samples
APART = 3.5  # deviations between the means of what classifiers take for suspects and of the rest, lest benign ones join


@dataclass
class RefineStage(ReduceStage):
    """Within attacked labels, the group that the target stage has found grows to the whole.

    First the features of the reference model sharpen it until it is stable, together with the samples' own cause, or
    with what noise takes away of their label, where that has convicted it. What looks to that model like a typical
    image of the label is missed, so then classifiers are trained for which the suspects of each attacked label are a
    class of their own: the trigger is what tells it from the others. Each half of the data is read by the classifier
    that was trained on the other one, and of the label's samples those that it may take for suspects join them. This
    is repeated while the group grows.

    After a retrial that has convicted the core of the group alone the features would let it drift, as the reference
    model has hardly learned the trigger. There such classifiers are shown the fine detail of the images, where faint
    triggers lie and little else, and judge all samples of the label anew in every round, those of the core too.

    Where a pattern in the pixels has told the samples apart nothing is sharper.

    The threshold is low where triggers are plain: a benign sample among the suspects gets its label back from the
    benign model, a poisoned one that is missed stays. In labels that are not under attack the suspicion is weighted by
    the label's score.

    Args:
        mark: suspicion from which a sample counts as one of the group, where no cause holds it.
        clear: suspicion below which it counts as none, likewise.
        threshold: suspicion from which a sample is a suspect.
        rounds: how often such classifiers are trained at most.
        epochs: passes of each training at most.
        least_steps: of the optimizer; a small set is passed more often.
    """

    name = "refine"
    mark: Share = 0.2
    clear: Share = 0.005
    threshold: Share = 0.01
    rounds: Steps = 5
    epochs: Count = 8
    least_steps: Steps = 600

    def needs(self) -> tuple[str, ...]:
        return ("reference", "probe", "target")

    def check(self) -> None:
        if self.clear > self.mark:
            raise ElixirError(f"refine.clear = {self.clear} must not be above refine.mark = {self.mark}")

    def reduce(self, run: Run) -> Columns:
        labels = run.labels[run.readable_rows()]
        features = run.column("reference", "features")
        found = run.columns("target")
        targets = run.findings["targets"]
        by = {target["label"]: target["witness"] for target in targets}
        told = np.isin(labels, [label for label, witness in by.items() if witness == "pattern"])
        suspicion = np.where(told, found["pattern"], found["suspicion"]).astype(np.float64)
        score = run.findings.get("scores", {})
        weight = np.array([score.get(name, 0.0) for name in run.classes])
        weight[list(by)] = 1
        suspicion *= weight[labels]
        members = {label: np.flatnonzero(labels == label) for label in by}
        faint = {label: members[label] for label, witness in by.items() if witness == "core"}
        plain = {label: members[label] for label, witness in by.items() if witness not in ("pattern", "core")}
        for label, mine in plain.items():
            if by[label] in CAUSAL:
                suspicion[mine] = sharpen_with(features[mine], found["cause"][mine], suspicion[mine], run.seed)
            elif by[label] == "drop":
                drop = lost(run.column("probe", "drop")[mine])
                suspicion[mine] = sharpen_with(features[mine], drop, suspicion[mine], run.seed)
            else:
                suspicion[mine] = sharpen_until_stable(features[mine], suspicion[mine], run.seed, self.mark, self.clear)
        self._grow(run, plain, suspicion)
        self._look_closer(run, faint, suspicion)
        suspect = np.zeros(len(labels), bool)
        for target in targets:
            mine = members[target["label"]]
            suspect[mine] = suspicion[mine] > self.threshold
            target["suspects"] = int(suspect[mine].sum())
        return {"suspicion": suspicion.astype(np.float32), "suspect": suspect}

    def _grow(self, run: Run, members: dict[int, np.ndarray], suspicion: np.ndarray) -> None:
        """Let samples of these labels join the suspects that classifiers take for some, while many do."""
        for number in range(self.rounds):
            groups = _groups(members, suspicion > self.threshold)
            grown = 0
            for label, odds in self._recognized(run, "recognize", number, groups, run.pixels.read).items():
                mine = members[label]
                seen = np.maximum(suspicion[mine], by_odds(odds[mine], suspicion[mine] > 0.5, APART))
                grown += int(((seen > self.threshold) & (suspicion[mine] <= self.threshold)).sum())
                suspicion[mine] = seen
            if grown <= STABLE * sum(len(group) for group in groups.values()):
                break

    def _look_closer(self, run: Run, members: dict[int, np.ndarray], suspicion: np.ndarray) -> None:
        """Judge all samples of these labels anew by their fine detail, while many change sides.

        Suspects are those that are more likely poisoned than not: triggers like these are told by degrees.
        """

        def read(rows: np.ndarray) -> Tensor:
            return detail(run.pixels.read(rows))

        for mine in members.values():
            suspicion[mine] *= suspicion[mine] > 0.5
        for number in range(self.rounds):
            groups = _groups(members, suspicion > 0)
            changed = 0
            for label, odds in self._recognized(run, "closer", number, groups, read).items():
                mine = members[label]
                before = suspicion[mine] > 0
                seen = by_odds(odds[mine], before)
                suspicion[mine] = seen * (seen > 0.5)
                changed += int(((suspicion[mine] > 0) != before).sum())
            if changed <= STABLE * sum(len(group) for group in groups.values()):
                break

    def _recognized(
        self, run: Run, look: str, number: int, groups: dict[int, np.ndarray], read: ReadPixels
    ) -> dict[int, np.ndarray]:
        """For every label with a group, the log-odds of its samples that they are of the group; 0 for all others.

        Two classifiers are trained on what `read` makes of rows, the number `number` that look at images like this.
        """
        if not groups:
            return {}
        rows = run.readable_rows()
        labels = run.labels[rows]
        taught = labels.astype(np.int64)
        own = {label: len(run.classes) + index for index, label in enumerate(groups)}
        for label, group in groups.items():
            taught[group] = own[label]
        classes = [*run.classes, *(f"suspects of {run.classes[label]}" for label in groups)]
        fold = generator(run.seed, look, number).permutation(len(rows)) % 2
        odds = {label: np.zeros(len(rows)) for label in groups}
        for half in range(2):
            name = f"{look}-{number}-{half}"
            seen = np.flatnonzero(fold != half)
            training = ClassifierTraining(self.epochs, self.least_steps, seed=run.seed + 300 + 2 * number + half)
            run.train(name, read, rows[seen], taught[seen], training, classes=classes)
            for label in groups:
                unseen = np.flatnonzero((labels == label) & (fold == half))
                logp = log_probabilities(run, name, rows[unseen], read)
                odds[label][unseen] = logp[:, own[label]] - logp[:, label]
        return odds


def _groups(members: dict[int, np.ndarray], chosen: np.ndarray) -> dict[int, np.ndarray]:
    """The chosen samples of every label, where they and the rest of the label are enough to learn from."""
    groups = {label: members[label][chosen[members[label]]] for label in sorted(members)}
    return {label: group for label, group in groups.items() if LEAST <= len(group) <= len(members[label]) - LEAST}
