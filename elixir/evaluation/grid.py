"""Which cells an experiment has."""

from __future__ import annotations

from collections.abc import Sequence

from elixir.errors import ElixirError
from elixir.evaluation.cell import UNATTACKED, Poisoning
from elixir.evaluation.defences import BASELINES
from elixir.registry import find, names


def poisonings(
    attacks: Sequence[tuple[str, dict[str, object]]], rates: Sequence[float], clean_label_rates: Sequence[float]
) -> list[Poisoning]:
    """Every attack at every rate of its kind.

    Args:
        attacks: names and settings; the name "all" stands for every registered attack, "none" for the set as it is.
        rates: shares of the dataset.
        clean_label_rates: shares of the target class, for the attacks that change no label.

    Raises:
        ElixirError: there is no such attack, or no rate for it.
    """
    found: list[Poisoning] = []
    for name, settings in attacks:
        if name == UNATTACKED:
            found.append(Poisoning(UNATTACKED))
            continue
        for known in names("attacks") if name == "all" else [name]:
            clean_label = find("attacks", known).clean_label
            chosen = clean_label_rates if clean_label else rates
            if not chosen:
                raise ElixirError(f"{known} needs a rate: give {'--clean-label-rate' if clean_label else '--rate'}")
            found += [Poisoning(known, settings, rate) for rate in chosen]
    return found


def pipelines(chosen: Sequence[str]) -> list[str]:
    """Names of baselines, recipes and recipe files, where "all-baselines" stands for all of the first."""
    return list(
        dict.fromkeys(name for given in chosen for name in (BASELINES if given == "all-baselines" else [given]))
    )
