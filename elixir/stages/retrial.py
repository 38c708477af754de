"""Labels that are almost under attack, judged by a model that has not seen their suspects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from elixir.errors import ElixirError
from elixir.models.train_classifier import ClassifierTraining
from elixir.run.accusation import accusation
from elixir.run.columns import Columns
from elixir.run.evidence import DENIED, denied_beyond, sharpen_until_stable
from elixir.run.reading import log_probabilities
from elixir.run.run import Run
from elixir.stages.base import ReduceStage


@dataclass
class RetrialStage(ReduceStage):
    """Gives labels that the target stage has let go for want of evidence a second hearing.

    A trigger that survives purification is learned by the cross-fitted models too, and these contradict nothing. So
    the group of suspects of every doubtful label is sharpened until it is stable, and one model is trained without
    these groups and without the suspects of attacked labels. It denies poisoned samples their label, for it has seen
    nothing that would speak for it. Benign samples, hard as they may be, resemble others that it has seen.

    Args:
        doubt: score by the target stage from which a label is doubtful.
        conviction: how much more of a group must be denied its label than the cross-fitted models deny of all samples
            outside the groups, for the label to be under attack.
        smallest: a group of fewer samples is no attack; to be sure of the least share, a small one must be denied as a
            whole: of ten, all, by models that deny hardly any other.
        epochs: passes of the training at most.
        least_steps: of the optimizer; a small set is passed more often.
    """

    name = "retrial"
    doubt: float = 0.1
    conviction: float = 0.7
    smallest: int = 10
    epochs: int = 8
    least_steps: int = 600

    def check(self) -> None:
        if not 0 < self.doubt < 1 or not 0 < self.conviction < 1:
            raise ElixirError("retrial.doubt and retrial.conviction must lie between 0 and 1")
        if self.smallest < 1:
            raise ElixirError(f"retrial.smallest = {self.smallest} must be at least 1")

    def reduce(self, run: Run) -> Columns:
        rows = run.readable_rows()
        labels = run.labels[rows]
        features = run.column("reference", "features")
        suspicion = run.column("target", "suspicion").copy()
        targets = list(run.findings["targets"])
        attacked = [target["label"] for target in targets]
        doubtful = [
            label
            for label, name in enumerate(run.classes)
            if run.findings["scores"].get(name, 0.0) >= self.doubt and label not in attacked
        ]
        members = {label: np.flatnonzero(labels == label) for label in doubtful}
        stable = {
            label: sharpen_until_stable(features[mine], suspicion[mine], run.seed) for label, mine in members.items()
        }
        groups = {label: members[label][found > 0.5] for label, found in stable.items()}
        groups = {label: group for label, group in groups.items() if len(group) >= self.smallest}
        run.findings["retried"] = {}
        for label, denied, beyond in self._denied(run, groups, suspicion, attacked):
            group = groups[label]
            run.findings["retried"][run.classes[label]] = round(beyond, 4)
            if beyond >= self.conviction:
                suspicion[members[label]] = stable[label]
                evidence = {"denied": denied, "share": len(group) / len(members[label])}
                targets.append(accusation(run.classes, label, beyond, len(group), "retrial", evidence))
        run.findings["targets"] = targets
        return {"suspicion": suspicion}

    def _denied(
        self, run: Run, groups: dict[int, np.ndarray], suspicion: np.ndarray, attacked: list[int]
    ) -> Iterator[tuple[int, float, float]]:
        """Of every group, its label, the share that is denied it, and by how much this is more than usual."""
        if not groups:
            return
        rows = run.readable_rows()
        labels = run.labels[rows]
        seen = ~(np.isin(labels, attacked) & (suspicion > 0.5))
        seen[np.concatenate(list(groups.values()))] = False
        training = ClassifierTraining(self.epochs, self.least_steps, seed=run.seed + 200)
        run.train("retrial", run.pixels.read, rows[seen], labels[seen], training)
        usual = np.exp(run.column("crossfit", "logp")[seen], dtype=np.float32) < DENIED
        for label, group in groups.items():
            denied = np.exp(log_probabilities(run, "retrial", rows[group])[:, label]) < DENIED
            yield label, float(denied.mean()), denied_beyond(denied, usual)
