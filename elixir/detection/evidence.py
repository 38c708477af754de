"""What detectors look at, and what each of them proposes."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from elixir.detection.alarm_rate import false_alarms
from elixir.detection.grouping import crossval_lda
from elixir.detection.knowledge import too_little_known
from elixir.detection.probe import GroupProbe
from elixir.detection.scores import SampleScores
from elixir.detection.thresholds import Thresholds
from elixir.detection.trigger import mean_image, mean_residual
from elixir.randomness import Draw, generator


@dataclass(frozen=True)
class Evidence:
    """All that detectors look at, of all samples."""

    scores: SampleScores
    probe: GroupProbe
    thresholds: Thresholds
    seed: int

    @cached_property
    def is_informed(self) -> bool:
        """Whether models know enough of the set that what they see in samples of other labels says something."""
        return not too_little_known(self.scores.label, self.scores.seen, self.thresholds)

    @cached_property
    def half(self) -> np.ndarray:
        """Which half of the labels, drawn at random, each sample's label is in: 0 or 1, (n,)."""
        labels, of_label = np.unique(self.scores.label, return_inverse=True)
        return generator(self.seed, Draw.LABEL_HALVES).permutation(len(labels))[of_label] % 2

    def seeded_group(self, members: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Posterior of each member, float64 (n,), learned from which of them are seeds, bool (n,)."""
        return crossval_lda(self.scores.features_of(members), seeds, ~seeds, self.seed, self.thresholds)

    def is_rare(self, surprise: float) -> bool:
        """Whether no more clean sets than `alarm_rate` have a label that surprises as much, in nats."""
        return false_alarms(surprise, self.scores.labels) <= self.thresholds.alarm_rate

    def group(self, members: np.ndarray, posterior: np.ndarray) -> np.ndarray:
        """Indices of the members that belong to a group."""
        return members[posterior > self.thresholds.min_posterior]

    def group_transfer(self, label: int, group: np.ndarray) -> float:
        """Probability of the label on carriers that receive what purification takes away from a group on average."""
        residual = mean_residual(self.probe.pixels, self.probe.purified, group)
        return self.probe.transfer(label, self.thresholds.residual_gain * residual)

    def difference_transfer(self, label: int, group: np.ndarray, rest: np.ndarray) -> float:
        """Probability of the label on carriers that receive what a group has more than the rest of the label.

        Its root mean square is `max_trigger_rms` at most; without a rest it is nothing.
        """
        pixels, loudest = self.probe.pixels, self.thresholds.max_trigger_rms
        if not len(rest):
            return self.probe.transfer(label, torch.zeros(pixels.shape))
        difference = mean_image(pixels, group) - mean_image(pixels, rest)
        rms = float(difference.square().mean().sqrt())
        return self.probe.transfer(label, difference * min(1.0, loudest / max(rms, 1e-9)))


@dataclass(frozen=True)
class Candidate:
    """What one detector proposes for one label.

    Attributes:
        members: indices of the label's samples, int64 (n,).
        posterior: of belonging to the group, float64 (n,) in [0,1].
        score: direct score, in [0,1].
        evidence: what the score rests on, by name.
        measure: what tells how unusual it is; the score itself if None.
    """

    detector: str
    members: np.ndarray
    posterior: np.ndarray
    score: float = 0.0
    evidence: dict[str, float] = field(default_factory=dict)
    measure: float | None = None
