"""Labels that are almost under attack, judged by a model that has not seen their suspects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from elixir.errors import ElixirError
from elixir.models.train_classifier import ClassifierTraining
from elixir.randomness import generator
from elixir.run.accusation import accusation
from elixir.run.columns import Columns
from elixir.run.evidence import SURE, foreign_share, sharpen_until_stable
from elixir.run.reading import log_probabilities
from elixir.run.run import Run
from elixir.stages.base import ReduceStage


@dataclass
class RetrialStage(ReduceStage):
    """Gives labels that the target stage has let go for want of evidence a second hearing.

    A trigger that survives purification is learned by the cross-fitted models too, and these contradict nothing. So
    the group of suspects of every doubtful label is sharpened until it is stable, and one model is trained without
    these groups and without the suspects of attacked labels. It judges the first suspects, as a group that has grown
    holds more benign samples. Of poisoned samples it sees the true label as surely as of others that it has not seen,
    for nothing that it has seen speaks for the false one. Benign samples that are hard, or of a kind that is missing
    now, it is less sure about.

    A label is doubtful as well if a pattern divides its samples into two clear groups: it may be a trigger that the
    reference model has not learned. Then the one group is judged, and taken for what is poisoned if that is right.

    Args:
        doubt: score by the target stage from which a label is doubtful.
        conviction: share of the suspects that must be samples of other labels, for the label to be under attack.
        control: share of all other samples that the model does not see, to know how sure it is of such samples.
        smallest: fewer suspects are no attack.
        epochs: passes of the training at most.
        least_steps: of the optimizer; a small set is passed more often.
    """

    name = "retrial"
    doubt: float = 0.07
    conviction: float = 0.6
    control: float = 0.2
    smallest: int = 10
    epochs: int = 8
    least_steps: int = 600

    def check(self) -> None:
        if not all(0 < share < 1 for share in (self.doubt, self.conviction, self.control)):
            raise ElixirError("retrial.doubt, retrial.conviction and retrial.control must lie between 0 and 1")
        if self.smallest < 1:
            raise ElixirError(f"retrial.smallest = {self.smallest} must be at least 1")

    def reduce(self, run: Run) -> Columns:
        labels = run.labels[run.readable_rows()]
        features = run.column("reference", "features")
        suspicion, pattern = run.column("target", "suspicion"), run.column("target", "pattern")
        targets = list(run.findings["targets"])
        attacked = [target["label"] for target in targets]
        groups: dict[tuple[int, str], np.ndarray] = {}
        withheld = [np.flatnonzero(np.isin(labels, attacked) & (suspicion > 0.5))]
        for label, name in enumerate(run.classes):
            mine = np.flatnonzero(labels == label)
            if label in attacked:
                continue
            group = mine[suspicion[mine] > 0.5]
            if run.findings["scores"].get(name, 0.0) >= self.doubt and len(group) >= self.smallest:
                stable = sharpen_until_stable(features[mine], suspicion[mine], run.seed)
                groups[label, "retrial"] = group
                withheld += [group, mine[stable > 0.5]]
            group = mine[pattern[mine] > 0.5]
            if len(group) >= self.smallest:
                groups[label, "pattern"] = group
                withheld.append(group)
        retried: dict[str, float] = {}
        convicted: dict[int, dict[str, Any]] = {}
        for (label, witness), sure_of_another, foreign in self._judged(run, groups, np.concatenate(withheld)):
            name, count = run.classes[label], len(groups[label, witness])
            retried[name] = max(retried.get(name, 0.0), round(foreign, 4))
            if foreign >= self.conviction:
                evidence = {"sure_of_another": sure_of_another, "share": count / int((labels == label).sum())}
                convicted[label] = accusation(run.classes, label, foreign, count, witness, evidence)
        run.findings |= {"retried": retried, "targets": [*targets, *convicted.values()]}
        return {}

    def _judged(
        self, run: Run, groups: dict[tuple[int, str], np.ndarray], withheld: np.ndarray
    ) -> Iterator[tuple[tuple[int, str], float, float]]:
        """Of every group, for which share the model is sure of another label, and the share of foreign samples.

        There are none where the model has seen no sample of the label: it could not have named it.
        """
        if not groups:
            return
        rows = run.readable_rows()
        labels = run.labels[rows]
        others = np.setdiff1d(np.arange(len(rows)), withheld)
        order = generator(run.seed, "retrial").permutation(others)
        of_label = [order[labels[order] == label] for label in range(len(run.classes))]
        unseen = np.concatenate([mine[: int(self.control * len(mine))] for mine in of_label])
        seen = np.setdiff1d(order, unseen)
        training = ClassifierTraining(self.epochs, self.least_steps, seed=run.seed + 200)
        run.train("retrial", run.pixels.read, rows[seen], labels[seen], training)

        def sure_of(chosen: np.ndarray) -> np.ndarray:
            """The label that the model is sure of for each chosen sample; -1 for none."""
            logp = log_probabilities(run, "retrial", rows[chosen])
            return np.where(logp.max(1) > np.log(SURE), logp.argmax(1), -1)

        found = sure_of(unseen)
        right = found == labels[unseen]
        wrong = (found >= 0) & ~right
        for (label, witness), group in groups.items():
            found = sure_of(group)
            another = (found >= 0) & (found != label)
            foreign = foreign_share(another, right, wrong) if len(of_label[label]) else 0.0
            yield (label, witness), float(another.mean()), foreign
