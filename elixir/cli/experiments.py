"""The commands for people who attack a dataset to see what comes of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from elixir.cli import options as opt
from elixir.cli.options import ATTACK_FORM, out, parse_settings
from elixir.errors import ElixirError

app = typer.Typer()

Target = Annotated[str | None, typer.Option(help="Class that the trigger is to stand for.")]
AllToAll = Annotated[bool, typer.Option("--all-to-all", help="Instead of a target: every class becomes the next one.")]


@app.command()
def poison(
    src: opt.Source,
    dst: opt.Folder,
    attack: Annotated[str, typer.Option(help="Name of the attack; `elixir attacks` lists them.")],
    target: Target = None,
    all_to_all: AllToAll = False,
    rate: Annotated[float, typer.Option(min=0, max=1, help="Share of samples to poison.")] = 0.1,
    rate_of: Annotated[str | None, typer.Option(help="What RATE is a share of: dataset or class.")] = None,
    select: Annotated[str | None, typer.Option(help="What may be poisoned: any, non_target or target.")] = None,
    settings: opt.AttackSettings = None,
    seed: opt.Seed = 0,
    image: opt.Image = None,
    label: opt.Label = None,
    split: opt.Split = None,
    quiet: opt.Quiet = False,
) -> None:
    """Write a poisoned copy of SRC to DST, for experiments, and the truth beside it."""
    from elixir.data.open import open_source
    from elixir.registry import find

    _check_target(target, all_to_all)
    made = find("attacks", attack).configure(parse_settings(settings or [], ATTACK_FORM))
    source = open_source(src, image=image, label=label, split=split)
    done = made.poison_dataset(source, dst, target, rate=rate, rate_of=rate_of, select=select, seed=seed, quiet=quiet)
    if not quiet:
        covers = f" and {done.covers} covered" if done.covers else ""
        out.print(f"{done.poisoned} of {done.samples} samples poisoned{covers} in {done.out}; truth in {done.truth}")


@app.command()
def score(
    dst: Annotated[Path, typer.Argument(metavar="DST", help="What `elixir sanitize` has written.")],
    truth: Annotated[
        Path | None, typer.Option("--truth", metavar="FILE", help="The truth that `elixir poison` wrote.")
    ] = None,
    test: Annotated[str | None, typer.Option("--test", metavar="SRC", help="Clean test set to train for.")] = None,
    attack: Annotated[str | None, typer.Option(help="Attack on the test set; that of the truth by default.")] = None,
    target: Annotated[str | None, typer.Option(help="Class that the trigger stands for, likewise.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Fresh classifiers to train.")] = 3,
    settings: opt.AttackSettings = None,
    quiet: opt.Quiet = False,
) -> None:
    """Compare a result with the truth, and train fresh classifiers on it (DST may be any dataset for that)."""
    from elixir.data.io import RUN_FOLDER
    from elixir.data.open import open_source
    from elixir.data.source import find_class
    from elixir.evaluation.outcome import train_and_attack
    from elixir.evaluation.truth import attack_of, attacked_classes, read_truth, recovery
    from elixir.registry import find
    from elixir.result import read_result

    if truth is None and test is None:
        raise ElixirError("give --truth to compare with, --test to train for, or both")
    if attack is None and (target is not None or settings):
        raise ElixirError("--target and --set are about the attack that --attack names")
    report: dict[str, Any] = {"dataset": str(dst)}
    if truth is not None and (test is None or (dst / RUN_FOLDER).is_dir()):
        report |= vars(recovery(read_result(dst).table, read_truth(truth)))
    if test is not None:
        train, classes = open_source(dst, **_opened_with(dst)), None
        if attack is not None and target is not None:
            target = train.classes[find_class(train, target)]
            made = find("attacks", attack).configure(parse_settings(settings or [], ATTACK_FORM))
        elif attack is None and truth is not None:
            made, target = attack_of(truth)
            classes = attacked_classes(truth)
        else:
            raise ElixirError("--test needs --truth, or --attack and --target")
        tests = open_source(test, usual="test")
        outcomes = train_and_attack(train, tests, made, target, list(range(seeds)), quiet=quiet, classes=classes)
        report["outcomes"] = [vars(outcome) for outcome in outcomes]
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


@app.command()
def attacks(
    gallery: Annotated[
        Path | None,
        typer.Option("--gallery", metavar="FILE.png", help="Draw original, poisoned, difference of each attack."),
    ] = None,
    src: Annotated[
        str | None, typer.Option("--src", metavar="SRC", help="Images for the gallery; the shipped signs by default.")
    ] = None,
    target: Annotated[str, typer.Option(help="Class that the trigger is to stand for.")] = "stop",
    quiet: opt.Quiet = False,
) -> None:
    """List the attacks with their parameters, and draw what they do to images."""
    from elixir.registry import find, names

    for name in names("attacks"):
        attack = find("attacks", name)
        parameters = ", ".join(f"{key}={value!r}" for key, value in attack.parameters().items())
        if not quiet:
            out.print(f"{name} ({'clean' if attack.clean_label else 'dirty'} label): {parameters}")
    if gallery is not None:
        from elixir.evaluation.gallery import draw_gallery

        draw_gallery(gallery, src, target, quiet)


@app.command()
def evaluate(
    train: Annotated[str, typer.Argument(metavar="TRAIN", help="Clean training set to poison.")],
    test: Annotated[str, typer.Option("--test", metavar="TEST", help="Clean test set.")],
    folder: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Results, one JSON file a trial.")],
    target: Target = None,
    all_to_all: AllToAll = False,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            "--attack", metavar="NAME[:KEY=VALUE,...]", help="May be repeated; all, or none for the set as it is."
        ),
    ] = None,
    rate: Annotated[list[float] | None, typer.Option(help="Share of the dataset; may be repeated.")] = None,
    clean_label_rate: Annotated[
        list[float] | None, typer.Option(help="Share of the target class, for clean-label attacks; may be repeated.")
    ] = None,
    pipeline: Annotated[
        list[str] | None,
        typer.Option("--pipeline", metavar="NAME|FILE.toml", help="Recipe or baseline; all-baselines; repeatable."),
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
    from elixir.data.io import writing
    from elixir.data.open import open_source, refuse_overlap
    from elixir.data.workdir import locked
    from elixir.evaluation.poisoning import UNATTACKED, pipelines, poisonings
    from elixir.evaluation.report import markdown, write_page
    from elixir.evaluation.results import read_rows
    from elixir.evaluation.trial import Experiment
    from elixir.models.device import choose_device

    chosen = [_attack(text) for text in attack or ["all"]]
    if any(name != UNATTACKED for name, _ in chosen):
        _check_target(target, all_to_all)
    attacked = poisonings(chosen, rate or [0.1, 0.01], clean_label_rate or [0.8, 0.2], all_to_all)
    recipe_settings = parse_settings(settings or [])
    usual = ["dataelixir"] if subset else ["none", "dataelixir"]
    defences = pipelines(pipeline or usual, recipe_settings, subset)
    experiment = Experiment(
        train,
        test,
        target,
        seeds,
        seed,
        subset,
        recipe_settings,
        choose_device(device),
        folder,
        quiet,
    )
    for source in (open_source(train), open_source(test, usual="test")):
        refuse_overlap(source, folder, around=True)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for poisoning in attacked:
        for name in defences:
            if not quiet:
                out.print(f"{poisoning.name}, {name}")
            experiment.run(poisoning, name)
            with locked(folder / "work" / "results.lock", wait=True):
                write_page(folder / "results.html", [read_rows(folder)])
    if not quiet:
        out.print(markdown([read_rows(folder)]), end="")


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="What `elixir evaluate` has written.")],
    page: Annotated[Path | None, typer.Option("--page", metavar="FILE.html", help="Write a page.")] = None,
    into: Annotated[
        Path | None, typer.Option("--into", metavar="FILE.md", help="Put the tables between the marks of this file.")
    ] = None,
    brief: Annotated[
        Path | None, typer.Option("--overview", metavar="FILE.md", help="The same with one line for each attack.")
    ] = None,
) -> None:
    """Render the results of `elixir evaluate`: Markdown tables on screen, in a file, or a page."""
    from elixir.evaluation.report import MARKS, OVERVIEW_MARKS, markdown, overview, write_page
    from elixir.evaluation.results import read_rows
    from elixir.measurement.markdown import insert

    experiments = [read_rows(folder) for folder in folders]
    if page is not None:
        write_page(page, experiments)
    if into is not None:
        insert(into, markdown(experiments), MARKS)
    if brief is not None:
        insert(brief, overview(experiments), OVERVIEW_MARKS)
    if page is None and into is None and brief is None:
        out.print(markdown(experiments), end="")


def _attack(text: str) -> tuple[str, dict[str, object]]:
    """Read "badnets:pattern=white,seed=1"."""
    name, _, settings = text.partition(":")
    return name, parse_settings(settings.split(",") if settings else [], ATTACK_FORM)


def _opened_with(dst: Path) -> dict[str, Any]:
    """Columns and split of a table that `elixir sanitize` has written."""
    from elixir.data.io import RUN_FOLDER, read_json

    settings = dst / RUN_FOLDER / "run.json"
    if not settings.exists():
        return {}
    config = read_json(settings, "sanitize again")
    return {} if config.get("to") == "folder" else {key: config.get(key) for key in ("image", "label", "split")}


def _check_target(target: str | None, all_to_all: bool) -> None:
    if (target is None) != all_to_all:
        raise ElixirError("give --target CLASS, or --all-to-all")
