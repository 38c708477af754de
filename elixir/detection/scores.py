"""What speaks against each sample: one table of scores, an entry for every usable sample."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from elixir.detection.grouping import SomeRows
from elixir.detection.thresholds import Thresholds


@dataclass(frozen=True)
class SampleScores:
    """Evidence of n samples, all of it high for poisoned ones.

    Triggers show both `trigger_transfer` and `label_disagreement`; hard benign samples show the second, samples typical
    of their class sometimes the first.

    Attributes:
        label: given label, int64 (n,).
        features: of the reference model, (n, d); they may be mapped from a file, and are read a few at a time.
        trigger_transfer: how far what purification takes away from the image, or one tile of it, makes the reference
            model see the label in other images, float32 (n,) in [0,1].
        label_disagreement: how far models that could not learn the trigger do not see the label, or the reference model
            stops seeing it when a little noise is removed, float32 (n,) in [0,1].
        disagrees: the held-out models do not see the label, bool (n,).
        seen: the label that they see, (n,).
        confidence_drop: share of the label's probability that the image loses with a little noise, (n,) in [0,1].
    """

    label: np.ndarray
    features: np.ndarray
    trigger_transfer: np.ndarray
    label_disagreement: np.ndarray
    disagrees: np.ndarray
    seen: np.ndarray
    confidence_drop: np.ndarray

    @cached_property
    def labels(self) -> int:
        """How many labels there are."""
        return len(np.unique(self.label))

    def members(self, label: int) -> np.ndarray:
        """Indices of the samples with this label, int64."""
        return np.flatnonzero(self.label == label)

    def trigger_transfer_of(self, members: np.ndarray) -> np.ndarray:
        """That of some samples, float64, as means are taken of it."""
        return self.trigger_transfer[members].astype(np.float64)

    def label_disagreement_of(self, members: np.ndarray) -> np.ndarray:
        """Likewise."""
        return self.label_disagreement[members].astype(np.float64)

    def features_of(self, members: np.ndarray) -> SomeRows:
        """The features of some samples."""
        return SomeRows(self.features, members)


def sample_scores(
    label: np.ndarray,
    features: np.ndarray,
    residual_transfer: np.ndarray,
    tile_transfer: np.ndarray,
    heldout_logp: np.ndarray,
    heldout_erased_logp: np.ndarray,
    heldout_label: np.ndarray,
    logp_drop: np.ndarray,
    thresholds: Thresholds,
) -> SampleScores:
    """The table from the columns of the stages reference, probe and crossfit.

    Args:
        residual_transfer: mean probability of the label on carriers that receive the residual, (n,).
        tile_transfer: likewise for the best tile, times what the image loses without it, (n,).
        heldout_logp: log-probability of the label by the held-out models, (n,).
        heldout_erased_logp: the same without the tile, (n,).
        heldout_label: the most probable label by these models, (n,).
        logp_drop: fall of the log-probability of the label by the reference model with a little noise, (n,).
    """
    self_confidence = np.exp(heldout_logp, dtype=np.float32)
    erased_self_confidence = np.exp(heldout_erased_logp, dtype=np.float32)
    patch = is_patch(residual_transfer, tile_transfer)
    seen = np.where(patch, np.minimum(self_confidence, erased_self_confidence), self_confidence)
    drop = confidence_drop(logp_drop)
    return SampleScores(
        label=label,
        features=features,
        trigger_transfer=np.maximum(tile_transfer, residual_transfer),
        label_disagreement=np.maximum(1 - seen, drop),
        disagrees=self_confidence < thresholds.max_self_confidence,
        seen=heldout_label,
        confidence_drop=drop,
    )


def confidence_drop(logp_drop: np.ndarray) -> np.ndarray:
    """1 - exp(-max(0, drop)): the share of a probability that is lost, by the fall of its logarithm."""
    return 1 - np.exp(-logp_drop.clip(0))


def is_patch(residual_transfer: np.ndarray, tile_transfer: np.ndarray) -> np.ndarray:
    """Whether one tile carries the label better than what purification takes away, bool (n,)."""
    return tile_transfer > residual_transfer
