"""The clean model reads every flagged sample, and says what it really is and what becomes of it."""

from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.stages.estimate_trigger import clean_label_targets
from elixir.stages.group_probe import clean_probabilities

CONFIRMED = "flagged, but the clean model confirms its label"
UNCONTESTED = "flagged, but the clean model gives it no other label"


@dataclass
class RelabelStage(MapStage):
    """Decides about every flagged sample by the label that the clean model gives it.

    | label, poison score | the attack leaves labels wrong | clean-label attack |
    |---|---|---|
    | its own, up to `certain_score` | benign | benign |
    | its own, above it | undecided | poisoned, keeps its label |
    | another, confident | poisoned, gets that label | undecided |
    | another, not confident | undecided | undecided |

    Where all samples of a label are flagged everything is undecided, as the clean model has not learned that label.

    The clean model has not learned the trigger, but a trigger that covers the image disturbs its reading. So it reads
    the raw image minus the estimated trigger of its label.
    """

    name = "relabel"
    requires = ("pixels", "poison_score", "flagged", "clean_model", "mirrored", "triggers")
    provides = ("new_label", "confidence", "action", "reason")

    def indices(self, run: Run) -> np.ndarray:
        return np.flatnonzero(run["flagged"])

    def open(self, run: Run) -> None:
        self._score = run["poison_score"]
        self._learned = np.unique(run.labels[~run["flagged"]])
        self._clean_label = clean_label_targets(run)

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        given, thresholds = run.labels[indices], run.thresholds
        probability = clean_probabilities(run, indices, run.triggers)
        label, confidence = probability.argmax(1), probability.max(1)
        learned = np.isin(given, self._learned).tolist()
        own_label = (label == given).tolist()
        certain = (self._score[indices] > thresholds.certain_score).tolist()
        confident = (confidence >= thresholds.min_label_confidence).tolist()
        clean_label = np.isin(given, self._clean_label).tolist()
        facts = zip(learned, own_label, certain, confident, clean_label, strict=True)
        decided = [_decide(*five, policy=run.policy) for five in facts]
        return decision_columns(label, confidence, decided)


def decision_columns(label: np.ndarray, confidence: np.ndarray, decided: list[tuple[str, str]]) -> Columns:
    """The columns of new labels (n,), how confident they are, and actions with reasons."""
    return {
        "new_label": label.astype(np.int32),
        "confidence": confidence.astype(np.float32),
        "action": np.array([action for action, _ in decided], object),
        "reason": np.array([reason for _, reason in decided], object),
    }


def _decide(
    learned: bool, own_label: bool, certain: bool, confident: bool, clean_label: bool, policy: str
) -> tuple[str, str]:
    """Action and reason for one flagged sample, from five facts about it."""
    match learned, own_label, certain, confident, clean_label:
        case True, True, False, _, _:
            return "kept", CONFIRMED if confident else UNCONTESTED
        case True, True, True, _, True:
            return poisoned_action(policy, keeps_label=True)
        case True, False, _, True, False:
            return poisoned_action(policy, keeps_label=False)
        case _:
            return undecided_action(policy)


def poisoned_action(policy: str, keeps_label: bool) -> tuple[str, str]:
    """Action and reason for a sample that is poisoned and whose true label is known."""
    match policy, keeps_label:
        case "relabel", True:
            return "purified", "poisoned, its label is right"
        case "relabel", False:
            return "relabelled", "poisoned"
        case _:
            return {"drop": "dropped", "quarantine": "quarantined"}[policy], "poisoned"


def undecided_action(policy: str) -> tuple[str, str]:
    """Action and reason for a sample that is poisoned and whose true label is not known."""
    return ("dropped", "poisoned") if policy == "drop" else ("quarantined", "poisoned, label uncertain")
