"""Which labels are under attack; on clean data, none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir.errors import ElixirError
from elixir.randomness import generator
from elixir.run.columns import Columns
from elixir.run.evidence import sharpen, trigger_evidence
from elixir.run.residual import mean_residual
from elixir.run.run import Run
from elixir.stages.base import ReduceStage

GAIN = 2.0  # averaging and purification leave about half of a trigger that covers the image


@dataclass
class TargetStage(ReduceStage):
    """A label is under attack if a coherent group of its samples carries both kinds of evidence.

    For each label, samples with much evidence are marked and the reference model's features turn the marks into a
    group. The cause is tried once more for the group as a whole: what purification takes away from its samples on
    average, a trigger and little else, is added to many hosts. The label's score is the stronger cause, the group's
    own or its samples' mean, times their mean contradiction (see `elixir.run.evidence`).

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
        transplant, contradiction = trigger_evidence(
            probe["transplant"],
            probe["tile_transplant"],
            np.exp(crossfit["logp"], dtype=np.float32),
            np.exp(crossfit["erased_logp"], dtype=np.float32),
            probe["drop"][:, 0],
        )
        features = run.column("reference", "features")
        suspicion = np.zeros(len(labels), np.float32)
        scores: dict[str, float] = {}
        targets: list[dict[str, object]] = []
        for label, name in enumerate(run.classes):
            members = np.flatnonzero(labels == label)
            noisy = (transplant[members] + contradiction[members]) / 2 > self.mark
            suspicion[members] = sharpen(features[members], noisy, ~noisy, run.seed)
            group = members[suspicion[members] > 0.5]
            if len(group) < self.smallest:
                continue
            common = self._common_transplant(run, label, group)
            cause = max(common, float(transplant[group].mean()))
            score = cause * float(contradiction[group].mean())
            scores[name] = round(score, 4)
            if score >= self.threshold:
                evidence = {
                    "transplant": round(float(transplant[group].mean()), 4),
                    "common_transplant": round(common, 4),
                    "contradiction": round(float(contradiction[group].mean()), 4),
                }
                targets.append(
                    {
                        "label": label,
                        "name": name,
                        "confidence": scores[name],
                        "suspects": len(group),
                        "evidence": evidence,
                    }
                )
        run.findings["scores"] = dict(sorted(scores.items(), key=lambda item: -item[1]))
        run.findings["targets"] = targets
        return {"suspicion": suspicion}

    def _common_transplant(self, run: Run, label: int, group: np.ndarray) -> float:
        """Mean probability of the label on hosts with the group's mean residual added, amplified."""
        rows = run.readable_rows()
        others = rows[run.labels[rows] != label]
        chosen = generator(run.seed, "common hosts", label).permutation(others)[: self.hosts]
        received = (run.pixels.read(chosen).float() + GAIN * mean_residual(run, group)).clamp(0, 255) / 255
        with run.network():
            logp, _ = run.classify("reference", received)
        return float(np.exp(logp[:, label]).mean()) if len(chosen) else 0.0
