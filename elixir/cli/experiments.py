"""The commands for people who attack a dataset to see what comes of it."""

from pathlib import Path
from typing import Annotated, Unpack

import typer

import elixir
from elixir.cli import options as opt
from elixir.cli.options import ATTACK_FORM, command, out, parse_settings, print_json
from elixir.options import SourceOptions

app = typer.Typer()


@command(app, "elixir poison photos/ -o poisoned/ --attack badnets --rate .1 --target cat")
def poison(
    src: opt.Source,
    dst: opt.Folder,
    attack: Annotated[str, typer.Option(help="Name of the attack; `elixir attacks` lists them.")],
    target: opt.Target = None,
    all_to_all: opt.AllToAll = False,
    rate: Annotated[float, typer.Option(min=0, max=1, help="Share of samples to poison.")] = 0.1,
    rate_of: Annotated[str | None, typer.Option(help="What RATE is a share of: dataset or class.")] = None,
    select: Annotated[str | None, typer.Option(help="What may be poisoned: any, non_target, target, source.")] = None,
    settings: opt.AttackSettings = None,
    seed: opt.Seed = 0,
    quiet: opt.Quiet = False,
    **table: Unpack[SourceOptions],
) -> None:
    """Write a poisoned copy of SRC to DST, for experiments, and the truth beside it."""
    done = elixir.api.poison(
        src,
        dst,
        attack,
        target,
        all_to_all=all_to_all,
        rate=rate,
        rate_of=rate_of,
        select=select,
        settings=parse_settings(settings, ATTACK_FORM),
        seed=seed,
        quiet=quiet,
        **table,
    )
    if not quiet:
        covers = f" and {done.covers} covered" if done.covers else ""
        out.print(f"{done.poisoned} of {done.samples} samples poisoned{covers} in {done.out}; truth in {done.truth}")


@command(app, "elixir score clean/ --truth poisoned.truth.parquet --test test.parquet")
def score(
    dst: Annotated[Path, typer.Argument(metavar="DST", help="What `elixir sanitize` has written.")],
    truth: Annotated[Path | None, typer.Option(metavar="FILE", help="The truth that `elixir poison` wrote.")] = None,
    test: Annotated[str | None, typer.Option(metavar="SRC", help="Clean test set to train for.")] = None,
    attack: Annotated[str | None, typer.Option(help="Attack on the test set; that of the truth by default.")] = None,
    target: Annotated[str | None, typer.Option(help="Class that the trigger stands for, likewise.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Fresh classifiers to train.")] = 3,
    settings: opt.AttackSettings = None,
    quiet: opt.Quiet = False,
) -> None:
    """Compare a result with the truth, and train fresh classifiers on it (DST may be any dataset for that)."""
    parameters = parse_settings(settings, ATTACK_FORM)
    found = elixir.api.score(
        dst, truth=truth, test=test, attack=attack, target=target, settings=parameters, seeds=seeds, quiet=quiet
    )
    print_json(found.as_dict(), indent=2)


@command(app, "elixir evaluate train.parquet --test test.parquet --target stop -o results")
def evaluate(
    train: Annotated[str, typer.Argument(metavar="TRAIN", help="Clean training set to poison.")],
    test: Annotated[str, typer.Option(metavar="TEST", help="Clean test set.")],
    folder: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Results, one JSON file a trial.")],
    target: opt.Target = None,
    all_to_all: opt.AllToAll = False,
    attack: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:KEY=VALUE,...]", help="May be repeated; all, or none for the set as it is."),
    ] = None,
    rate: Annotated[list[float] | None, typer.Option(help="Share of the dataset; may be repeated.")] = None,
    clean_label_rate: Annotated[
        list[float] | None, typer.Option(help="Share of the target class, for clean-label attacks; may be repeated.")
    ] = None,
    pipeline: Annotated[
        list[str] | None, typer.Option(metavar="NAME|FILE.toml", help="Recipe or baseline; all-baselines; repeatable.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Fresh classifiers to train on each outcome.")] = 1,
    subset: Annotated[
        int | None, typer.Option(min=1, help="Let recipes look at so many samples only, and train nothing on them.")
    ] = None,
    settings: opt.Settings = None,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    quiet: opt.Quiet = False,
) -> None:
    """Poison, clean, train and attack, for every attack, rate and defence; goes on where it was interrupted."""
    from elixir.evaluation.results import markdown

    rows = elixir.api.evaluate(
        train,
        test,
        folder,
        target=target,
        all_to_all=all_to_all,
        attacks=[_attack(text) for text in attack or ["all"]],
        rates=rate or [0.1, 0.01],
        clean_label_rates=clean_label_rate or [0.8, 0.2],
        defences=pipeline,
        settings=parse_settings(settings),
        subset=subset,
        seeds=seeds,
        device=device,
        seed=seed,
        quiet=quiet,
        on_trial=(lambda name: None) if quiet else out.print,
    )
    if not quiet:
        out.print(markdown([rows]), end="")


def _attack(text: str) -> tuple[str, dict[str, object]]:
    """Read "badnets:pattern=white,seed=1"."""
    name, _, settings = text.partition(":")
    return name, parse_settings(settings.split(",") if settings else [], ATTACK_FORM)
