"""What speaks against one sample: that it carries a cause, and that its label is contradicted."""

from __future__ import annotations

import numpy as np


def trigger_evidence(
    transplant: np.ndarray, tile_transplant: np.ndarray, own: np.ndarray, erased_own: np.ndarray, drop: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Two kinds of evidence for each sample, float64 (n,) in [0,1], both high for poisoned ones.

    The first is causal: what purification takes away, or one tile, makes the reference model see this label in other
    images. The second is contradiction: models that could not learn the trigger do not see this label in the raw
    image, or in what is left of it without the tile, whichever the first kind rests on; or the reference model itself
    stops seeing it when a little noise is removed. Hard benign samples show the second, samples typical of their class
    sometimes the first, triggers both.

    Args:
        transplant: see the probe stage, (n, levels).
        tile_transplant: see the probe stage, (n,).
        own: probability of the label by the cross-fitted models on the raw image, (n,).
        erased_own: the same without the tile, (n,).
        drop: in log-probability of the label at the lowest noise level, by the reference model, (n,).
    """
    causal = np.maximum(tile_transplant, transplant.max(1))
    seen = np.where(local(transplant, tile_transplant), np.minimum(own, erased_own), own)
    contradiction = np.maximum(1 - seen, lost(drop))
    return causal.astype(np.float64), contradiction.astype(np.float64)


def lost(drop: np.ndarray) -> np.ndarray:
    """Share of the probability of its label that each image loses with a little noise, in [0,1], by its drop in log."""
    return 1 - np.exp(-drop.clip(0))


def local(transplant: np.ndarray, tile_transplant: np.ndarray) -> np.ndarray:
    """Whether one tile carries the label better than what purification takes away, bool (n,)."""
    return tile_transplant > transplant.max(1)
