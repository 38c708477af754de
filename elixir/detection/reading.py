"""What models see in images: as they are, without a trigger, or with something added."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from elixir.data.pixels import blocks
from elixir.engine.run import Run
from elixir.training.classifier import ReadPixels


def log_probabilities(run: Run, name: str, rows: np.ndarray, read: ReadPixels | None = None) -> np.ndarray:
    """Log-probability of each label by a model of this run, float32 (n, k).

    Args:
        run: that has trained the model.
        name: of the model.
        rows: of the images, int64 (n,), any n.
        read: maps rows to uint8 images; the raw ones by default.
    """
    read = read or run.pixels.read
    parts: list[np.ndarray] = []
    for part in [*blocks(rows, run.pixels.shape)] or [rows]:
        with run.network():
            parts.append(run.classify(name, read(part))[0])
    return np.concatenate(parts)


def benign_reading(run: Run, rows: np.ndarray, triggers: Mapping[int, Tensor]) -> np.ndarray:
    """Probability of each label by the benign model for images less the trigger of their given label.

    It reads the mirror images too, if it has learned from mirrored ones.

    Args:
        run: whose benign stage has finished.
        rows: int64 (n,).
        triggers: given label -> float32 (3, s, s) in [0,1] pixel units; none for a label that is missing.

    Returns:
        float32 (n, k).
    """
    parts = [np.empty((0, len(run.classes)), np.float32)]
    for part in blocks(rows, run.pixels.shape):
        images = run.pixels.read(part).float() / 255
        for index, label in enumerate(run.labels[part].tolist()):
            images[index] -= triggers.get(label, torch.zeros(()))
        images = images.clamp(0, 1)
        readings = [images, images.flip(-1)] if run.findings.get("mirrored") else [images]
        with run.network():
            parts.append(np.mean([np.exp(run.classify("benign", reading)[0]) for reading in readings], axis=0))
    return np.concatenate(parts)


def reference_sees(run: Run, label: int, rows: np.ndarray, change: Tensor) -> float:
    """Mean probability of a label by the reference model for images with something added; 0 without images.

    Args:
        run: whose reference stage has finished.
        label: which.
        rows: of the images, int64 (n,).
        change: what is added, (3, s, s) in grey levels.
    """
    if not len(rows):
        return 0.0
    received = (run.pixels.read(rows).float() + change.float()).clamp(0, 255) / 255
    with run.network():
        logp, _ = run.classify("reference", received)
    return float(np.exp(logp[:, label]).mean())
