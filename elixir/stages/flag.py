"""Which samples of the attacked labels are poisoned."""

from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.detection.expand import expand, flagged
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage, TrainingStage
from elixir.settings import Count, Steps
from elixir.stages.detect import SCORES, detection_of, evidence_of
from elixir.stages.group_probe import RunProbe


@dataclass
class FlagStage(TrainingStage, ReduceStage):
    """Within attacked labels, the group that was found grows to all its members: see `elixir.detection.expand`.

    The threshold is low: a benign sample that is flagged gets its label back from the clean model, a poisoned one that
    is missed stays.
    """

    name = "flag"
    requires = ("pixels", "reference_model", "labels", "posterior", "split_posterior", *SCORES)
    provides = ("poison_score", "flagged")
    effort = 6
    epochs: Count = 2
    least_steps: Steps = 60

    def reduce(self, run: Run) -> Columns:
        evidence = evidence_of(run, RunProbe(run, self.training(run)))
        found = detection_of(run)
        score = expand(evidence, found)
        return {"poison_score": score.astype(np.float32), "flagged": flagged(evidence, found, score)}
