"""What all notebooks share: few signs, settings that make a run short, and pictures side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from elixir.data.image import decode
from elixir.data.open import TRAIN, open_source

CLASSES = ("stop", "yield", "no entry", "priority road")
QUICK: dict[str, Any] = {
    "training.backbone": "none",  # a small network from random weights instead of the shipped features
    "training.widths": [32, 64],
    "training.batch": 32,
    "reference.least_steps": 100,  # instead of 200
    "crossfit.least_steps": 80,  # instead of 150
    "detect.least_steps": 80,  # instead of 200
    "flag.least_steps": 30,  # instead of 60
    "clean_model.least_steps": 100,  # instead of 200
}
"""Settings for a few hundred small images, a minute on two free cores; leave them out for a set of yours."""


def few_signs(folder: Path, src: Path = TRAIN, of_each: int = 60) -> Path:
    """Write a folder of PNG files for each of `CLASSES` of a shipped sample: all frames of a few signs."""
    signs = open_source(src)
    for name in CLASSES:
        rows = [row for row, sample in enumerate(signs.samples) if signs.classes[sample.label] == name]
        (folder / name).mkdir(parents=True)
        for row in rows[:of_each]:
            (folder / name / f"{row:04d}.png").write_bytes(signs.read(row))
    return folder


def pixels(encoded: bytes) -> np.ndarray:
    """An encoded picture as uint8 (h, w, 3)."""
    return decode(encoded).rgb


def strip(*rows: Sequence[np.ndarray], scale: int = 2) -> Image.Image:
    """Rows of pictures, uint8 (h, w, 3) and all of one size, `scale` times as large."""
    sheet = np.concatenate([np.concatenate(row, 1) for row in rows])
    return Image.fromarray(sheet.repeat(scale, 0).repeat(scale, 1))
