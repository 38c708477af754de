"""What is done to a dataset before a defence sees it, what has come of it, and which trials an experiment has."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from elixir.data.source import Source
from elixir.errors import ElixirError, UnreadableSample
from elixir.evaluation.baselines import BASELINES
from elixir.evaluation.defences import described
from elixir.registry import find, names

UNATTACKED = "none"


@dataclass(frozen=True)
class Poisoning:
    """An attack at a rate, a share of the dataset or, if clean-label, of the target class; "none" for none, at 0."""

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
        truth: about every sample, see `read_truth`.
        of_this_attack: the same without what an earlier attack had poisoned.
        attack: as it was fitted to the dataset; None for the dataset as it is.
    """

    path: str | Path
    source: Source
    truth: pa.Table
    of_this_attack: pa.Table
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


def poisonings(
    attacks: Sequence[tuple[str, dict[str, object]]],
    rates: Sequence[float],
    clean_label_rates: Sequence[float],
    all_to_all: bool = False,
) -> list[Poisoning]:
    """Every attack at every rate of its kind, a share of the dataset or, if it changes no label, of the target class.

    Of the attacks, with their settings, "all" stands for every one that can be made, "none" for no attack. Attacks on
    one source class, of which a share of the dataset may be more than there is, are made where they are named.
    """
    found: list[Poisoning] = []
    for name, settings in attacks:
        if name == UNATTACKED:
            found.append(Poisoning(UNATTACKED))
            continue
        for known in names("attacks") if name == "all" else [name]:
            attack = find("attacks", known).configure(settings)
            if name == "all" and (attack.one_source or (all_to_all and attack.one_target)):
                continue
            if all_to_all and attack.one_target:
                raise ElixirError(f"{known} needs one target class: give --target instead of --all-to-all")
            chosen = clean_label_rates if attack.clean_label else rates
            if not chosen:
                option = "--clean-label-rate" if attack.clean_label else "--rate"
                raise ElixirError(f"{known} needs a rate: give {option}")
            found += [Poisoning(known, settings, rate) for rate in chosen]
    return found


def pipelines(chosen: Sequence[str], settings: dict[str, object], subset: int | None = None) -> list[str]:
    """Names of baselines (all for "all-baselines"), recipes and recipe files, each once and usable: see `described`."""
    every = [name for given in chosen for name in (BASELINES if given == "all-baselines" else [given])]
    for name in every:
        described(name, settings, subset)
    return list(dict.fromkeys(every))
