"""Which cells an experiment has."""

from __future__ import annotations

from collections.abc import Sequence

from elixir.errors import ElixirError
from elixir.evaluation.defences import BASELINES, described
from elixir.evaluation.poisoning import UNATTACKED, Poisoning
from elixir.registry import find, names


def poisonings(
    attacks: Sequence[tuple[str, dict[str, object]]],
    rates: Sequence[float],
    clean_label_rates: Sequence[float],
    all_to_all: bool = False,
) -> list[Poisoning]:
    """Every attack at every rate of its kind.

    Args:
        attacks: names and settings; the name "all" stands for every registered attack that can be made, "none" for the
            set as it is.
        rates: shares of the dataset.
        clean_label_rates: shares of the target class, for the attacks that change no label.
        all_to_all: whether there is no target class.

    Raises:
        ElixirError: there is no such attack, a setting is wrong, or there is no rate or no target for it.
    """
    found: list[Poisoning] = []
    for name, settings in attacks:
        if name == UNATTACKED:
            found.append(Poisoning(UNATTACKED))
            continue
        for known in names("attacks") if name == "all" else [name]:
            attack = find("attacks", known).configure(settings)
            if all_to_all and attack.one_target:
                if name == "all":
                    continue
                raise ElixirError(f"{known} needs one target class: give --target instead of --all-to-all")
            chosen = clean_label_rates if attack.clean_label else rates
            if not chosen:
                option = "--clean-label-rate" if attack.clean_label else "--rate"
                raise ElixirError(f"{known} needs a rate: give {option}")
            found += [Poisoning(known, settings, rate) for rate in chosen]
    return found


def pipelines(chosen: Sequence[str], settings: dict[str, object], subset: int | None = None) -> list[str]:
    """Names of baselines, recipes and recipe files, each once.

    Args:
        chosen: names, where "all-baselines" stands for all baselines.
        settings: of the recipes, "stage.key" -> value.
        subset: see `Experiment`.

    Raises:
        ElixirError: one of them is unusable, see `described`.
    """
    every = [name for given in chosen for name in (BASELINES if given == "all-baselines" else [given])]
    for name in every:
        described(name, settings, subset)
    return list(dict.fromkeys(every))
