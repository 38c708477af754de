"""Which labels are under attack; on clean data, none."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from elixir.errors import ElixirError
from elixir.randomness import generator
from elixir.run.columns import Columns
from elixir.run.evidence import sharpen, trigger_evidence
from elixir.run.residual import mean_residual
from elixir.run.run import Run
from elixir.stages.base import ReduceStage

GAIN = 2.0  # averaging and purification leave about half of a trigger that covers the image
DENIED = 0.2
SURE = 0.8


@dataclass(frozen=True)
class Testimony:
    """What one witness says about one label.

    Attributes:
        witness: its name.
        suspicion: of the label's samples, float64 (n,) in [0,1].
        score: in [0,1].
        evidence: what the score rests on, by name.
    """

    witness: str
    suspicion: np.ndarray
    score: float = 0.0
    evidence: dict[str, float] = field(default_factory=dict)


@dataclass
class TargetStage(ReduceStage):
    """A label is under attack if a coherent group of its samples testifies to it.

    A witness marks samples of the label; the reference model's features turn the marks into a group, which is scored.
    Three are heard, and the first that is convinced decides:

    - "trigger": both kinds of evidence in each sample (see `elixir.run.evidence`). The cause is tried once more for the
      group as a whole: what purification takes away from its samples on average, a trigger and little else, is added to
      many hosts. Score: the stronger cause, the group's own or its samples' mean, times their mean contradiction.
    - "cause": the first kind alone, for triggers on images whose label is right. Score: the group's own cause.
    - "contradiction": models that could not learn the trigger deny the label where the reference model is sure of it,
      for triggers that differ in every image. Score: share of the group that is denied, times the square root of the
      group's share of the label; hard benign samples make small groups.

    Args:
        mark: mean evidence from which a sample is marked.
        threshold: score from which a label is under attack.
        smallest: a group of fewer samples is no attack.
        hosts: images of other labels that receive a group's mean residual.
    """

    name = "target"
    mark: float = 0.5
    threshold: float = 0.3
    smallest: int = 10
    hosts: int = 256

    def check(self) -> None:
        if not 0 < self.mark < 1 or not 0 < self.threshold < 1:
            raise ElixirError("target.mark and target.threshold must lie between 0 and 1")

    def reduce(self, run: Run) -> Columns:
        labels = run.labels[run.readable_rows()]
        probe, crossfit = run.columns("probe"), run.columns("crossfit")
        own = np.exp(crossfit["logp"], dtype=np.float32)
        cause, contradiction = trigger_evidence(
            probe["transplant"],
            probe["tile_transplant"],
            own,
            np.exp(crossfit["erased_logp"], dtype=np.float32),
            probe["drop"][:, 0],
        )
        denied = (own < DENIED) & (np.exp(run.column("reference", "logp")) > SURE)
        features = run.column("reference", "features")
        suspicion = np.zeros(len(labels), np.float32)
        scores: dict[str, float] = {}
        targets: list[dict[str, object]] = []
        for label, name in enumerate(run.classes):
            members = np.flatnonzero(labels == label)

            def group(marked: np.ndarray, members: np.ndarray = members) -> np.ndarray:
                return sharpen(features[members], marked[members], ~marked[members], run.seed)

            heard = [
                self._trigger(
                    run, label, members, group((cause + contradiction) / 2 > self.mark), cause, contradiction
                ),
                self._cause(run, label, members, group(cause > self.mark), contradiction),
                self._contradiction(members, group(denied), denied),
            ]
            convinced = [testimony for testimony in heard if testimony.score >= self.threshold]
            testimony = convinced[0] if convinced else max(heard, key=lambda testimony: testimony.score)
            suspicion[members] = testimony.suspicion
            if testimony.score:
                scores[name] = round(testimony.score, 4)
            if convinced:
                targets.append(
                    {
                        "label": label,
                        "name": name,
                        "confidence": scores[name],
                        "suspects": int((testimony.suspicion > 0.5).sum()),
                        "witness": testimony.witness,
                        "evidence": {key: round(value, 4) for key, value in testimony.evidence.items()},
                    }
                )
        run.findings["scores"] = dict(sorted(scores.items(), key=lambda item: -item[1]))
        run.findings["targets"] = targets
        return {"suspicion": suspicion}

    def _trigger(
        self,
        run: Run,
        label: int,
        members: np.ndarray,
        suspicion: np.ndarray,
        cause: np.ndarray,
        contradiction: np.ndarray,
    ) -> Testimony:
        group = members[suspicion > 0.5]
        if len(group) < self.smallest:
            return Testimony("trigger", suspicion)
        evidence = {
            "transplant": float(cause[group].mean()),
            "common_transplant": self._common_transplant(run, label, group),
            "contradiction": float(contradiction[group].mean()),
        }
        score = max(evidence["transplant"], evidence["common_transplant"]) * evidence["contradiction"]
        return Testimony("trigger", suspicion, score, evidence)

    def _cause(
        self, run: Run, label: int, members: np.ndarray, suspicion: np.ndarray, contradiction: np.ndarray
    ) -> Testimony:
        group = members[suspicion > 0.5]
        if len(group) < self.smallest:
            return Testimony("cause", suspicion)
        common = self._common_transplant(run, label, group)
        evidence = {"common_transplant": common, "contradiction": float(contradiction[group].mean())}
        return Testimony("cause", suspicion, common, evidence)

    def _contradiction(self, members: np.ndarray, suspicion: np.ndarray, denied: np.ndarray) -> Testimony:
        group = members[suspicion > 0.5]
        if len(group) < self.smallest:
            return Testimony("contradiction", suspicion)
        evidence = {"denied": float(denied[group].mean()), "share": len(group) / len(members)}
        return Testimony("contradiction", suspicion, evidence["denied"] * evidence["share"] ** 0.5, evidence)

    def _common_transplant(self, run: Run, label: int, group: np.ndarray) -> float:
        """Mean probability of the label on hosts with the group's mean residual added, amplified."""
        rows = run.readable_rows()
        others = rows[run.labels[rows] != label]
        chosen = generator(run.seed, "common hosts", label).permutation(others)[: self.hosts]
        received = (run.pixels.read(chosen).float() + GAIN * mean_residual(run, group)).clamp(0, 255) / 255
        with run.network():
            logp, _ = run.classify("reference", received)
        return float(np.exp(logp[:, label]).mean()) if len(chosen) else 0.0
