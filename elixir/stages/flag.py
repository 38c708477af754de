"""Which samples of the attacked labels are poisoned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.detection.detectors import Evidence
from elixir.detection.expand import expand, flagged
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.settings import Count, Steps
from elixir.stages.detect import SCORES, detection_of, scores_of
from elixir.stages.group_probe import RunProbe
from elixir.training.classifier import ClassifierTraining


@dataclass
class FlagStage(ReduceStage):
    """Within attacked labels, the group that was found grows to all its members: see `elixir.detection.expand`.

    The threshold is low: a benign sample that is flagged gets its label back from the clean model, a poisoned one that
    is missed stays.

    Args:
        epochs: passes of each recognizer's training at most.
        least_steps: of the optimizer; a small set is passed more often.
    """

    name = "flag"
    requires = ("pixels", "labels", "posterior", "split_posterior", *SCORES)
    provides = ("poison_score", "flagged")
    epochs: Count = 8
    least_steps: Steps = 600

    def reduce(self, run: Run) -> Columns:
        probe = RunProbe(run, recognizer=ClassifierTraining(self.epochs, self.least_steps))
        evidence, found = Evidence(scores_of(run), probe, run.thresholds, run.seed), detection_of(run)
        score = expand(evidence, found)
        return {"poison_score": score.astype(np.float32), "flagged": flagged(evidence, found, score)}
