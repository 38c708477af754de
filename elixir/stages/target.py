"""Which labels are under attack; on clean data, none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.detection.accusation import accusation
from elixir.detection.hearing import Hearing, Record, Testimony
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.settings import Count, Share


@dataclass
class TargetStage(ReduceStage):
    """A label is under attack if a coherent group of its samples testifies to it.

    A witness marks samples of the label; the reference model's features turn the marks into a group, which is scored.
    Four are heard, and the first that is convinced decides: "trigger", "cause", "contradiction" and "pattern"; see
    `elixir.detection.hearing.Hearing`. Of a label that convinces none, the one nearest to it tells the suspicion;
    should a pattern divide its samples into two clear groups though, the group goes on record for a retrial.

    Args:
        mark: mean evidence from which a sample is marked.
        threshold: score from which a label is under attack.
        smallest: a group of fewer samples is no attack.
        hosts: images of other labels that receive what a group has in common.
        clear: separation from which two groups are clear.
    """

    name = "target"
    mark: Share = 0.5
    threshold: Share = 0.3
    smallest: Count = 10
    hosts: Count = 256
    clear: Share = 0.6

    def needs(self) -> tuple[str, ...]:
        return ("reference", "probe", "crossfit")

    def reduce(self, run: Run) -> Columns:
        labels = run.labels[run.readable_rows()]
        record = Record(run)
        suspicion, pattern = np.zeros(len(labels), np.float32), np.zeros(len(labels), np.float32)
        scores: dict[str, float] = {}
        targets: list[dict[str, object]] = []
        for label, name in enumerate(run.classes):
            members = np.flatnonzero(labels == label)
            if not len(members):
                continue
            heard = self._heard(Hearing(record, label, members, self.mark, self.smallest, self.hosts))
            testimony = max(heard, key=lambda testimony: testimony.score)
            suspicion[members] = testimony.suspicion
            last = heard[-1]
            clear = last.evidence.get("separation", 0.0) >= self.clear
            if last.witness == "pattern" and (clear or last.score >= self.threshold):
                pattern[members] = last.suspicion
            if testimony.score:
                scores[name] = round(testimony.score, 4)
            if testimony.score >= self.threshold:
                suspects = (testimony.suspicion > 0.5).sum()
                targets.append(
                    accusation(run.classes, label, testimony.score, suspects, testimony.witness, testimony.evidence)
                )
        run.findings["scores"] = dict(sorted(scores.items(), key=lambda item: -item[1]))
        run.findings["targets"] = targets
        return {"suspicion": suspicion, "pattern": pattern, "cause": record.cause.astype(np.float32)}

    def _heard(self, hearing: Hearing) -> list[Testimony]:
        """Of all witnesses, or up to the first that is convinced, who spares the others."""
        heard: list[Testimony] = []
        for testimony in hearing.testimonies():
            heard.append(testimony)
            if testimony.score >= self.threshold:
                break
        return heard
