"""Which labels are under attack, on clean data none; and which could not be judged."""

from dataclasses import asdict, dataclass

from elixir.data.columns import Columns
from elixir.detection.decide import Detection, detect
from elixir.detection.evidence import Evidence
from elixir.detection.not_judged import judge
from elixir.detection.reports import label_reports
from elixir.detection.scores import sample_scores
from elixir.engine.run import Run
from elixir.engine.stage import HeldOutStage, ReduceStage
from elixir.stages.group_probe import RunProbe

SCORES = (
    "features",
    "residual_transfer",
    "tile_transfer",
    "heldout_logp",
    "heldout_erased_logp",
    "heldout_label",
    "logp_drop",
)


@dataclass
class DetectStage(HeldOutStage, ReduceStage):
    """A label is under attack if a coherent group of its samples is: see `elixir.detection.decide`."""

    name = "detect"
    requires = ("pixels", "purified", "reference_model", *SCORES)
    provides = ("labels", "posterior", "split_posterior")
    effort = 12

    def reduce(self, run: Run) -> Columns:
        probe = RunProbe(run, self.training(run))
        found = detect(evidence_of(run, probe), run.classes)
        reports = judge(found.reports, run.labels, run["heldout_label"], run.thresholds)
        run.facts["labels"] = [asdict(report) for report in reports]
        return {"posterior": found.posterior, "split_posterior": found.split_posterior}


def evidence_of(run: Run, probe: RunProbe) -> Evidence:
    """What detectors look at, with the scores from the columns of earlier stages."""
    scores = sample_scores(run.labels, **{name: run[name] for name in SCORES}, thresholds=run.thresholds)
    return Evidence(scores, probe, run.thresholds, run.seed)


def detection_of(run: Run) -> Detection:
    """What the stage detect has found."""
    return Detection(tuple(label_reports(run.facts)), run["posterior"], run["split_posterior"])
