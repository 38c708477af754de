"""Which labels are under attack; on clean data, none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logit
from torch import Tensor

from elixir.errors import ElixirError
from elixir.randomness import generator
from elixir.run.columns import Columns
from elixir.run.evidence import DENIED, sharpen, sharpen_again, trigger_evidence
from elixir.run.pattern import Moments, cut, split
from elixir.run.reading import reference_sees
from elixir.run.residual import mean_of, mean_residual
from elixir.run.run import Run
from elixir.stages.base import ReduceStage

GAIN = 2.0  # averaging and purification leave about half of a trigger that covers the image
SURE = 0.8
TINY = 1e-15
LOUDEST = 25.5  # root mean square of a transplanted pattern in grey levels: 20 dB


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
    score: float
    evidence: dict[str, float]


@dataclass
class TargetStage(ReduceStage):
    """A label is under attack if a coherent group of its samples testifies to it.

    A witness marks samples of the label; the reference model's features turn the marks into a group, which is scored.
    Four are heard, and the first that is convinced decides:

    - "trigger": both kinds of evidence in each sample (see `elixir.run.evidence`). The cause is tried once more for the
      group as a whole: what purification takes away from its samples on average, a trigger and little else, is added to
      many hosts. Score: the stronger cause, the group's own or its samples' mean, times their mean contradiction.
    - "cause": the first kind alone, for triggers on images whose label is right. Score: the group's own cause; or, for
      triggers of which purification takes away little, the geometric mean of its samples' cause and of what the hosts
      show when they receive what the group has more than the rest of the label, no louder than `LOUDEST`, times how
      clearly the features fall into group and rest.
    - "contradiction": models that could not learn the trigger deny the label where the reference model is sure of it,
      for triggers that differ in every image. Score: share of the group that is denied, times the square root of the
      group's share of the label; hard benign samples make small groups.
    - "pattern": the samples fall into two groups by a pattern that other labels do not show (see `elixir.run.pattern`),
      for triggers that survive purification on images whose label is right. The group needs no marks. Score: what the
      hosts show when they receive what it has more than the rest, times how clearly the groups are two.

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
        if self.smallest < 1 or self.hosts < 1:
            raise ElixirError("target.smallest and target.hosts must be at least 1")

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
        everything = Moments.of(run.pixels, run.readable_rows())
        scores: dict[str, float] = {}
        targets: list[dict[str, object]] = []
        for label, name in enumerate(run.classes):
            members = np.flatnonzero(labels == label)
            if not len(members):
                continue
            testimony = self._heard(run, label, members, features[members], cause, contradiction, denied, everything)
            convinced = testimony.score >= self.threshold
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

    def _heard(
        self,
        run: Run,
        label: int,
        members: np.ndarray,
        features: np.ndarray,
        cause: np.ndarray,
        contradiction: np.ndarray,
        denied: np.ndarray,
        everything: Moments,
    ) -> Testimony:
        """The first convinced witness, who spares the others, or the one nearest to it."""

        def trigger(group: np.ndarray, _: np.ndarray) -> tuple[float, dict[str, float]]:
            carried, against = float(cause[group].mean()), float(contradiction[group].mean())
            common = self._transplant(run, label, GAIN * mean_residual(run, group))
            evidence = {"transplant": carried, "common_transplant": common, "contradiction": against}
            return max(carried, common) * against, evidence

        def common_cause(group: np.ndarray, suspicion: np.ndarray) -> tuple[float, dict[str, float]]:
            carried = float(cause[group].mean())
            common = self._transplant(run, label, GAIN * mean_residual(run, group))
            more = self._transplant(run, label, self._difference(run, group, np.setdiff1d(members, group)))
            clear = cut(logit(suspicion.clip(TINY, 1 - TINY))).separation
            evidence = {
                "transplant": carried,
                "common_transplant": common,
                "difference_transplant": more,
                "separation": clear,
            }
            return max(common, (carried * more) ** 0.5 * clear), evidence

        def denial(group: np.ndarray, _: np.ndarray) -> tuple[float, dict[str, float]]:
            precision, share = float(denied[group].mean()), len(group) / len(members)
            return precision * share**0.5, {"denied": precision, "share": share}

        witnesses = (
            ("trigger", (cause + contradiction) / 2 > self.mark, trigger),
            ("cause", cause > self.mark, common_cause),
            ("contradiction", denied, denial),
        )
        heard: list[Testimony] = []
        for witness, marked, judge in witnesses:
            suspicion = sharpen(features, marked[members], ~marked[members], run.seed)
            if witness == "cause":
                suspicion = sharpen_again(features, suspicion, run.seed)
            group = members[suspicion > 0.5]
            score, evidence = judge(group, suspicion) if len(group) >= self.smallest else (0.0, {})
            heard.append(Testimony(witness, suspicion, score, evidence))
            if score >= self.threshold:
                return heard[-1]
        heard.append(self._pattern(run, label, members, everything))
        return max(heard, key=lambda testimony: testimony.score)

    def _pattern(self, run: Run, label: int, members: np.ndarray, everything: Moments) -> Testimony:
        fold = generator(run.seed, "pattern", label).permutation(len(members)) % 2
        found = split(run.pixels, run.readable_rows()[members], everything, fold)
        group = found.suspicion > 0.5
        if min(group.sum(), (~group).sum()) < self.smallest or not found.separation:
            return Testimony("pattern", np.zeros(len(members)), 0.0, {})
        more = self._transplant(run, label, self._difference(run, members[group], members[~group]))
        evidence = {"separation": found.separation, "difference_transplant": more}
        return Testimony("pattern", found.suspicion, more * found.separation, evidence)

    def _difference(self, run: Run, group: np.ndarray, rest: np.ndarray) -> Tensor:
        """What the group has more than the rest on average, in grey levels (3, s, s); nothing without a rest."""
        if not len(rest):
            return torch.zeros(run.pixels.shape)
        rows = run.readable_rows()
        difference = mean_of(run.pixels, rows[group]) - mean_of(run.pixels, rows[rest])
        return difference * min(1.0, LOUDEST / max(float(difference.square().mean().sqrt()), 1e-9))

    def _transplant(self, run: Run, label: int, change: Tensor) -> float:
        """Mean probability of the label on hosts with something (grey levels, (3, s, s)) added."""
        rows = run.readable_rows()
        others = rows[run.labels[rows] != label]
        chosen = generator(run.seed, "common hosts", label).permutation(others)[: self.hosts]
        return reference_sees(run, label, chosen, change)
