"""The two tests of a new image: whether it carries a known trigger, and whether models deny its label."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elixir.new_data.known_run import KnownRun


@dataclass(frozen=True)
class Findings:
    """What was found about n images.

    Attributes:
        carries: label under attack -> whether an image carries its trigger, bool (n,).
        denied: whether models do not see the label of an image, bool (n,).
        seen: label that the clean model sees in it, less any trigger, int (n,); -1 where it was not asked.
        confidence: probability that it gives to this label, float32 (n,); NaN likewise.
        least_p: the least p-value of a trigger, float64 (n,); NaN where none is known.
    """

    carries: dict[int, np.ndarray]
    denied: np.ndarray
    seen: np.ndarray
    confidence: np.ndarray
    least_p: np.ndarray

    def reason(self, place: int, classes: list[str]) -> str:
        """Why an image is named; "" if it is not."""
        reasons = [f"carries the trigger of {classes[label]}" for label, mask in self.carries.items() if mask[place]]
        if self.denied[place]:
            reasons.append(f"label denied: the models see {classes[self.seen[place]]}")
        return "; ".join(reasons)


class Judge:
    """Compares images with the samples of a finished run.

    Args:
        known: the run.
        wanted: share of clean images that each test may name; the least that the samples of the run can state if that
            is more (see `elixir.detection.conformal`).
    """

    def __init__(self, known: KnownRun, wanted: float) -> None:
        self._known = known
        self.trigger_rate = known.calibration.trigger_rate(wanted)
        self.label_rate = np.array([known.calibration.label_rate(label, wanted) for label in range(len(known.classes))])

    def look(self, images: Tensor, labels: np.ndarray) -> Findings:
        """Judge images, uint8 (n, 3, s, s), with labels of the run, int64 (n,), -1 for one that is not to be judged."""
        known, count = self._known, len(images)
        p = {label: known.calibration.trigger_p(label, drop) for label, drop in known.trigger_drop(images).items()}
        carries = {label: values <= self.trigger_rate for label, values in p.items()}
        doubted = self._doubted(images, labels)
        clean = images.float() / 255
        for label, mask in carries.items():
            clean[torch.from_numpy(mask)] -= known.triggers[label]
        asked = np.flatnonzero(np.any([doubted, *carries.values()], axis=0))
        seen, confidence = np.full(count, -1), np.full(count, np.nan, np.float32)
        if len(asked):
            probability = known.clean_reading(clean[torch.from_numpy(asked)].clamp(0, 1))
            seen[asked], confidence[asked] = probability.argmax(1), probability.max(1)
        least_p = np.min([*p.values()], axis=0) if p else np.full(count, np.nan)
        return Findings(carries, doubted & (seen != labels), seen, confidence, least_p)

    def _doubted(self, images: Tensor, labels: np.ndarray) -> np.ndarray:
        """Whether the label is less probable than that of benign samples to models that have not learned from them."""
        doubted = np.zeros(len(labels), bool)
        judged = np.flatnonzero(labels >= 0)
        if len(judged):
            logp = self._known.heldout_logp(images[torch.from_numpy(judged)], labels[judged])
            for label in np.unique(labels[judged]).tolist():
                own = labels[judged] == label
                p = self._known.calibration.label_p(label, logp[own])
                doubted[judged[own]] = p <= self.label_rate[label]
        return doubted
