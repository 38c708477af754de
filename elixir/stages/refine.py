"""Which samples of the attacked labels are poisoned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir.errors import ElixirError
from elixir.models.train_classifier import ClassifierTraining
from elixir.randomness import generator
from elixir.run.columns import Columns
from elixir.run.evidence import LEAST, STABLE, by_odds, sharpen_until_stable
from elixir.run.reading import log_probabilities
from elixir.run.run import Run
from elixir.stages.base import ReduceStage


@dataclass
class RefineStage(ReduceStage):
    """Within attacked labels, the group that the target stage has found grows to the whole.

    First the features of the reference model sharpen it until it is stable. What looks to that model like a typical
    image of the label is missed, so then classifiers are trained for which the suspects of each attacked label are a
    class of their own: the trigger is what tells it from the others. Each half of the data is read by the classifier
    that was trained on the other one, and of the label's samples those that it may take for suspects join them.
    This is repeated while the group grows.

    Not so where a pattern in the pixels has told the samples apart: nothing is sharper.

    The threshold is low: a benign sample among the suspects gets its label back from the benign model, a poisoned one
    that is missed stays. In labels that are not under attack the suspicion is weighted by the label's score.

    Args:
        mark: suspicion from which a sample counts as one of the group.
        clear: suspicion below which it counts as none.
        threshold: suspicion from which a sample is a suspect.
        rounds: how often such classifiers are trained at most.
        epochs: passes of each training at most.
        least_steps: of the optimizer; a small set is passed more often.
    """

    name = "refine"
    mark: float = 0.2
    clear: float = 0.005
    threshold: float = 0.01
    rounds: int = 5
    epochs: int = 8
    least_steps: int = 600

    def check(self) -> None:
        if not 0 < self.clear <= self.mark < 1 or not 0 < self.threshold < 1:
            raise ElixirError("refine.clear, refine.mark and refine.threshold must lie in (0, 1), clear below mark")
        if self.rounds < 0:
            raise ElixirError(f"refine.rounds = {self.rounds} must not be negative")

    def reduce(self, run: Run) -> Columns:
        labels = run.labels[run.readable_rows()]
        features = run.column("reference", "features")
        told = [target["label"] for target in run.findings["targets"] if target["witness"] == "pattern"]
        found = run.columns("target")
        suspicion = np.where(np.isin(labels, told), found["pattern"], found["suspicion"]).astype(np.float64)
        score = run.findings.get("scores", {})
        weight = np.array([score.get(name, 0.0) for name in run.classes])
        weight[[target["label"] for target in run.findings["targets"]]] = 1
        suspicion *= weight[labels]
        members = {target["label"]: np.flatnonzero(labels == target["label"]) for target in run.findings["targets"]}
        vague = members.keys() - told
        for label in vague:
            mine = members[label]
            suspicion[mine] = sharpen_until_stable(features[mine], suspicion[mine], run.seed, self.mark, self.clear)
        for number in range(self.rounds):
            groups = {label: members[label][suspicion[members[label]] > self.threshold] for label in sorted(vague)}
            groups = {label: group for label, group in groups.items() if len(group) >= LEAST}
            grown = 0
            for label, odds in self._recognized(run, number, groups).items():
                mine = members[label]
                seen = np.maximum(suspicion[mine], by_odds(odds[mine], suspicion[mine] > 0.5))
                grown += int(((seen > self.threshold) & (suspicion[mine] <= self.threshold)).sum())
                suspicion[mine] = seen
            if grown <= STABLE * sum(len(group) for group in groups.values()):
                break
        suspect = np.zeros(len(labels), bool)
        for target in run.findings["targets"]:
            mine = members[target["label"]]
            suspect[mine] = suspicion[mine] > self.threshold
            target["suspects"] = int(suspect[mine].sum())
        return {"suspicion": suspicion.astype(np.float32), "suspect": suspect}

    def _recognized(self, run: Run, number: int, groups: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """For every label with a group, the log-odds of its samples that they are of the group; 0 for all others."""
        if not groups:
            return {}
        rows = run.readable_rows()
        labels = run.labels[rows]
        taught = labels.astype(np.int64)
        own = {label: len(run.classes) + index for index, label in enumerate(groups)}
        for label, group in groups.items():
            taught[group] = own[label]
        classes = [*run.classes, *(f"suspects of {run.classes[label]}" for label in groups)]
        fold = generator(run.seed, "recognize", number).permutation(len(rows)) % 2
        odds = {label: np.zeros(len(rows)) for label in groups}
        for half in range(2):
            name = f"recognize-{number}-{half}"
            seen = np.flatnonzero(fold != half)
            training = ClassifierTraining(self.epochs, self.least_steps, seed=run.seed + 300 + 2 * number + half)
            run.train(name, run.pixels.read, rows[seen], taught[seen], training, classes=classes)
            for label in groups:
                unseen = np.flatnonzero((labels == label) & (fold == half))
                logp = log_probabilities(run, name, rows[unseen])
                odds[label][unseen] = logp[:, own[label]] - logp[:, label]
        return odds
