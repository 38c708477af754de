"""Labels that are almost under attack, judged by a model that has not seen their suspects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.detection.accusation import accusation
from elixir.detection.evidence import lost
from elixir.detection.group import sharpen_until_stable, sharpen_with
from elixir.detection.reading import log_probabilities
from elixir.detection.shares import SURE, foreign_share
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.randomness import generator
from elixir.settings import Count, Share, Steps
from elixir.training.classifier import ClassifierTraining


@dataclass
class RetrialStage(ReduceStage):
    """Gives labels that the target stage has let go for want of evidence a second hearing.

    A trigger that survives purification is learned by the cross-fitted models too, and these contradict nothing. So
    the group of suspects of every doubtful label is sharpened until it is stable, and one model is trained without
    these groups and without the suspects of attacked labels. Of poisoned samples it sees the true label as surely as of
    others that it has not seen, for nothing that it has seen speaks for the false one. Benign samples that are hard, or
    of a kind that is missing now, it is less sure about.

    The first suspects decide whether the label is under attack. If the group that they have grown to consists of
    samples of other labels too, the witness is "retrial". If not, benign samples have joined it, as the reference model
    has hardly learned the trigger; then the witness is "core", and only the first suspects are known.

    If neither is convicted, as benign samples were among the first suspects already, a third group is asked for: of
    those that lose their label with a little noise. Triggers that differ in every image die of it, and features and
    loss together tell them from benign samples where features alone do not. The witness is "drop".

    A label is doubtful as well if a pattern divides its samples into two clear groups: it may be a trigger that the
    reference model has not learned at all. If the one group is convicted, the witness is "pattern": nothing is sharper.

    Args:
        doubt: score by the target stage from which a label is doubtful.
        conviction: share of the suspects that must be samples of other labels, for the label to be under attack.
        control: share of all other samples that the model does not see, to know how sure it is of such samples.
        smallest: fewer suspects are no attack.
        epochs: passes of the training at most.
        least_steps: of the optimizer; a small set is passed more often.
    """

    name = "retrial"
    doubt: Share = 0.07
    conviction: Share = 0.6
    control: Share = 0.2
    smallest: Count = 10
    epochs: Count = 8
    least_steps: Steps = 600

    def needs(self) -> tuple[str, ...]:
        return ("reference", "probe", "target")

    def reduce(self, run: Run) -> Columns:
        labels = run.labels[run.readable_rows()]
        features = run.column("reference", "features")
        suspicion, pattern = run.column("target", "suspicion"), run.column("target", "pattern")
        drop = lost(run.column("probe", "drop"))
        targets = list(run.findings["targets"])
        attacked = [target["label"] for target in targets]
        groups: dict[tuple[int, str], np.ndarray] = {}
        for label, name in enumerate(run.classes):
            if label in attacked:
                continue
            mine = np.flatnonzero(labels == label)
            core, told = mine[suspicion[mine] > 0.5], mine[pattern[mine] > 0.5]
            if run.findings["scores"].get(name, 0.0) >= self.doubt and len(core) >= self.smallest:
                groups[label, "core"] = core
                stable = mine[sharpen_until_stable(features[mine], suspicion[mine], run.seed) > 0.5]
                if len(stable):
                    groups[label, "retrial"] = stable
                losing = mine[sharpen_with(features[mine], drop[mine], suspicion[mine], run.seed) > 0.5]
                if len(losing) >= self.smallest:
                    groups[label, "drop"] = losing
            if len(told) >= self.smallest:
                groups[label, "pattern"] = told
        attacks = np.flatnonzero(np.isin(labels, attacked) & (suspicion > 0.5))
        judged = self._judged(run, groups, np.concatenate([attacks, *groups.values()]))
        retried: dict[str, dict[str, float]] = {}
        for label, name in enumerate(run.classes):
            foreign = {witness: share for (whose, witness), (_, share) in judged.items() if whose == label}
            if foreign:
                retried[name] = {witness: round(share, 4) for witness, share in foreign.items()}
            if witness := self._convicting(foreign):
                count = len(groups[label, witness])
                sure_of_another, share = judged[label, witness]
                evidence = {"sure_of_another": sure_of_another, "share": count / int((labels == label).sum())}
                targets.append(accusation(run.classes, label, share, count, witness, evidence))
        run.findings |= {"retried": retried, "targets": targets}
        return {}

    def _convicting(self, foreign: Mapping[str, float]) -> str:
        """The witness to believe about one label, by the shares of foreign samples in its groups; "" for none."""
        convicted = {witness for witness, share in foreign.items() if share >= self.conviction}
        if "pattern" in convicted:
            return "pattern"
        if "core" in convicted:
            return "retrial" if "retrial" in convicted else "core"
        return "drop" if "drop" in convicted else ""

    def _judged(
        self, run: Run, groups: dict[tuple[int, str], np.ndarray], withheld: np.ndarray
    ) -> dict[tuple[int, str], tuple[float, float]]:
        """Of every group, for which share the model is sure of another label, and the share of foreign samples.

        There are none where the model has seen no sample of the label: it could not have named it.
        """
        if not groups:
            return {}
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
        judged: dict[tuple[int, str], tuple[float, float]] = {}
        for (label, witness), group in groups.items():
            found = sure_of(group)
            another = (found >= 0) & (found != label)
            foreign = foreign_share(another, right, wrong) if len(of_label[label]) else 0.0
            judged[label, witness] = float(another.mean()), foreign
        return judged
