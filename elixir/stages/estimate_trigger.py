"""What the poisoned samples of each attacked label have in common."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from elixir.data.columns import Columns
from elixir.detection.reports import label_reports
from elixir.detection.trigger import Benign, mean_difference, mean_excess, mean_residual
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.randomness import Draw, generator
from elixir.stages.group_probe import carriers, clean_probabilities, transfer


@dataclass
class EstimateTriggerStage(ReduceStage):
    """Estimates the trigger of each attacked label, so that later stages can take it away.

    There are two estimates from the certainly poisoned samples: what purification takes away from them on average
    ("residual"), and their mean minus that of benign samples of the same true labels, as the clean model reads them
    without the first estimate ("difference"). Kept is the one that makes the reference model see the label in images of
    other labels (sufficient) and see less of it in the samples without it (necessary).

    If the clean model gives many certain samples of a label their own label back, the attack is a clean-label one: they
    show the label without the trigger too, so only the first counts. (Not all get it back, as such an attack may have
    made them hard to read; where the labels are wrong, hardly any do, unless benign samples are among them. So it is
    none where held-out models have decided, which have seen that labels are wrong.) The model reads them without the
    first estimate, and without what they have beyond all difference of labels, as a strong wave survives purification.
    """

    name = "estimate_trigger"
    requires = ("pixels", "purified", "labels", "poison_score", "flagged", "reference_model", "clean_model", "mirrored")
    provides = ("triggers",)

    def reduce(self, run: Run) -> Columns:
        thresholds, is_flagged = run.thresholds, run["flagged"]
        certain = is_flagged & (run["poison_score"] > thresholds.certain_score)
        rest = np.flatnonzero(~is_flagged)
        benign = Benign(run.pixels, rest, run.labels[rest], thresholds.variance_inflation)
        kept: dict[int, Tensor] = {}
        facts: dict[str, dict[str, object]] = {}
        for report in label_reports(run.facts):
            label = report.label
            group = np.flatnonzero((run.labels == label) & certain)
            if not len(group):
                group = np.flatnonzero((run.labels == label) & is_flagged)
            if not report.decided_by or not len(group):
                continue
            residual = thresholds.trigger_gain / 255 * mean_residual(run.pixels, run.purified, group)
            excess = mean_excess(benign, group, label) / 255
            read, again = (_clean_labels(run, group, {label: x}) for x in (residual, excess))
            right = max((read == label).mean(), (again == label).mean())
            mislabeled = report.decided_by.kind == "holdout"
            clean_label = bool(right > thresholds.clean_label_share) and not mislabeled
            if clean_label:
                read = np.full(len(read), label)
            difference = mean_difference(benign, group, read) / 255
            estimates = {"residual": residual, "difference": difference}
            needed_by = None if clean_label else group
            effect = {name: self._effect(run, label, estimate, needed_by) for name, estimate in estimates.items()}
            best = max(effect, key=lambda name: effect[name])
            kept[label] = estimates[best]
            facts[str(label)] = {"clean_label": clean_label, "kept": best, "effect": effect}
        run.keep_triggers(kept)
        run.facts["triggers"] = facts
        return {}

    def _effect(self, run: Run, label: int, estimate: Tensor, group: np.ndarray | None) -> float:
        """How far the label depends on the estimate, in [0,1]: sufficient, times necessary for a group if given."""
        sufficient = transfer(run, label, carriers(run, label, Draw.TRIGGER_CARRIERS), 255 * estimate)
        if group is None:
            return sufficient
        some = generator(run.seed, Draw.TRIGGER_CARRIERS, label).permutation(group)[: run.thresholds.carriers]
        with_it, without = (transfer(run, label, some, change) for change in (0 * estimate, -255 * estimate))
        return sufficient * max(0.0, with_it - without)


def _clean_labels(run: Run, indices: np.ndarray, triggers: Mapping[int, Tensor]) -> np.ndarray:
    """The most probable label of each image, int64 (n,); see `clean_probabilities`."""
    return np.concatenate([clean_probabilities(run, batch, triggers).argmax(1) for batch in run.batches(indices)])


def clean_label_targets(run: Run) -> list[int]:
    """Labels under a clean-label attack."""
    return [int(label) for label, trigger in run.facts["triggers"].items() if trigger["clean_label"]]
