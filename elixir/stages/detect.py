"""Which labels are under attack; on clean data, none."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from elixir.data.columns import Columns
from elixir.detection.decide import Detection, detect, label_reports
from elixir.detection.detectors import Evidence
from elixir.detection.scores import SampleScores, sample_scores
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.settings import Count, Steps
from elixir.stages.group_probe import RunProbe
from elixir.training.classifier import ClassifierTraining

SCORES = (
    "features",
    "reference_logp",
    "residual_transfer",
    "tile_transfer",
    "heldout_logp",
    "heldout_erased_logp",
    "logp_drop",
)


@dataclass
class DetectStage(ReduceStage):
    """A label is under attack if a coherent group of its samples is: see `elixir.detection.decide`.

    Args:
        epochs: passes of the held-out model's training at most.
        least_steps: of the optimizer; a small set is passed more often.
    """

    name = "detect"
    requires = ("pixels", "purified", "reference_model", *SCORES)
    provides = ("labels", "posterior", "split_posterior")
    epochs: Count = 8
    least_steps: Steps = 600

    def reduce(self, run: Run) -> Columns:
        training = ClassifierTraining(self.epochs, self.least_steps)
        probe = RunProbe(run, holdout=training)
        found = detect(Evidence(scores_of(run), probe, run.thresholds, run.seed), run.classes)
        run.facts["labels"] = [asdict(report) for report in found.reports]
        return {"posterior": found.posterior, "split_posterior": found.split_posterior}


def scores_of(run: Run) -> SampleScores:
    """The table of scores, from the columns of earlier stages."""
    return sample_scores(run.labels, **{name: run[name] for name in SCORES}, thresholds=run.thresholds)


def detection_of(run: Run) -> Detection:
    """What the stage detect has found."""
    return Detection(tuple(label_reports(run.facts)), run["posterior"], run["split_posterior"])
