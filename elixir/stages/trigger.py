"""What the poisoned samples of each attacked label have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from torch import Tensor

from elixir.data.columns import Columns
from elixir.detection.reading import benign_reading, reference_sees
from elixir.detection.residual import mean_difference, mean_excess, mean_residual
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.randomness import generator
from elixir.settings import Count, Range

GAIN = 1.25  # purification leaves a part of a trigger behind
OWN = 0.25  # share of the samples


@dataclass
class TriggerStage(ReduceStage):
    """Estimates the trigger of each attacked label, so that later stages can take it away.

    There are two estimates from the samples that the refine stage is sure about: what purification takes away from
    them on average, and their mean less that of benign samples of the same true labels, as the benign model reads them
    without the first estimate. Kept is the one that makes the reference model see the label in images of other labels
    (sufficient) and see less of it in the samples without it (necessary).

    A label of whose samples the benign model gives many their own label back is under a clean-label attack: they show
    the label without the trigger too, and only the first counts. (Not all get it back, as such an attack may have made
    them hard to read; where the labels are wrong, hardly any do.) The model reads them without the first estimate, and
    without what they have beyond all difference of labels: a strong wave stays in the images when they are purified.

    Args:
        sure: suspicion from which a sample is learned from, if there are any.
        hosts: images that the estimates are tried on, at most.
    """

    name = "trigger"
    sure: Annotated[float, Range(least=0, below=1)] = 0.9
    hosts: Count = 256

    def needs(self) -> tuple[str, ...]:
        return ("reference", "probe", "target", "refine", "benign")

    def reduce(self, run: Run) -> Columns:
        rows, suspect = run.readable_rows(), run.column("refine", "suspect")
        certain = suspect & (run.column("refine", "suspicion") > self.sure)
        kept: dict[int, Tensor] = {}
        for target in run.findings["targets"]:
            label = target["label"]
            here = run.labels[rows] == label
            group = np.flatnonzero(here & certain)
            if not len(group):
                group = np.flatnonzero(here & suspect)
            if not len(group):
                continue
            residual = GAIN / 255 * mean_residual(run, rows[group])
            excess = mean_excess(run, rows[group], label, rows[~suspect]) / 255
            read, again = (benign_reading(run, rows[group], {label: x}).argmax(1) for x in (residual, excess))
            clean_label = bool(max((read == label).mean(), (again == label).mean()) > OWN)
            if clean_label:
                read = np.full(len(read), label)
            difference = mean_difference(run, rows[group], read, rows[~suspect]) / 255
            causes = {
                name: self._cause(run, label, estimate, None if clean_label else rows[group])
                for name, estimate in (("residual", residual), ("difference", difference))
            }
            best = max(causes, key=lambda name: causes[name])
            kept[label] = residual if best == "residual" else difference
            target["evidence"] |= {f"{name}_cause": round(cause, 4) for name, cause in causes.items()}
            target["clean_label"] = clean_label
        run.keep_triggers(kept)
        return {}

    def _cause(self, run: Run, label: int, estimate: Tensor, carriers: np.ndarray | None) -> float:
        """How far the label hangs on the estimate, in [0,1]; `carriers` are rows of samples that lose it without."""
        rows = run.readable_rows()
        hosts = self._some(run, label, rows[run.labels[rows] != label])
        sufficient = reference_sees(run, label, hosts, 255 * estimate)
        if carriers is None:
            return sufficient
        some = self._some(run, label, carriers)
        before, after = (reference_sees(run, label, some, change) for change in (0 * estimate, -255 * estimate))
        return sufficient * max(0.0, before - after)

    def _some(self, run: Run, label: int, rows: np.ndarray) -> np.ndarray:
        return generator(run.seed, "trigger hosts", label).permutation(rows)[: self.hosts]
