"""What is done to a dataset before a defence sees it, and what has come of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from elixir.data.source import Source
from elixir.errors import UnreadableSample

UNATTACKED = "none"


@dataclass(frozen=True)
class Poisoning:
    """An attack at a rate.

    Attributes:
        attack: registered name, or "none" for the dataset as it is.
        settings: of the attack.
        rate: share of poisoned samples, of the dataset or, for clean-label attacks, of the target class; 0 for none.
    """

    attack: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    rate: float = 0.0

    @property
    def name(self) -> str:
        """For people and for files."""
        if self.attack == UNATTACKED:
            return UNATTACKED
        settings = [value if isinstance(value, str) else f"{key}={value}" for key, value in self.settings.items()]
        return "-".join([self.attack, *settings, f"{100 * self.rate:g}%"])


@dataclass(frozen=True)
class Poisoned:
    """A poisoned dataset and the truth about it.

    Attributes:
        path: of the dataset.
        source: the same, opened.
        truth: about every sample of it, see `read_truth`.
        mine: the same without what an earlier attack had poisoned.
        attack: as it was fitted to the dataset; None for the dataset as it is.
    """

    path: str | Path
    source: Source
    truth: pa.Table
    mine: pa.Table
    attack: Any | None

    def kinds(self) -> np.ndarray:
        """One of "clean", "poisoned" and "cover" for every sample."""
        kinds = dict(zip(self.truth.column("output").to_pylist(), self.truth.column("truth").to_pylist(), strict=True))
        return np.array([kinds[sample.id] for sample in self.source.samples], object)


def digest(source: Source) -> str:
    """Of ids, labels and bytes of all samples that can be read, the same for the same dataset wherever it lies."""
    digest = hashlib.sha256()
    for index, sample in enumerate(source.samples):
        with suppress(UnreadableSample):
            data = source.read(index)
            digest.update(f"{sample.id}\0{sample.label}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()
