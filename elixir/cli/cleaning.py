"""The commands for people with a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

import typer

import elixir
from elixir.cli import options as opt
from elixir.cli.options import SHARED, command, out, parse_settings, print_json
from elixir.data.paths import printable
from elixir.errors import ElixirError
from elixir.options import RunOptions, WorkOptions

if TYPE_CHECKING:
    from elixir.new_data.outcome import NewData
    from elixir.result import Result

app = typer.Typer()
DEFAULT = "dataelixir"
NEW_DATA_OPTIONS = ("image", "label", "split", "follow_links", "device", "overwrite", "quiet")
"""What `scan --against` has of the options of a run."""


@command(app, "elixir sanitize photos/ -o clean/")
def sanitize(
    src: opt.Source,
    dst: opt.Folder,
    pipeline: opt.Recipe = "dataelixir",
    settings: opt.Settings = None,
    policy: Annotated[str, typer.Option(help="Poisoned samples: relabel, drop or quarantine.")] = "relabel",
    to: Annotated[str | None, typer.Option(help="folder, list, hf, parquet or webdataset; as SRC by default.")] = None,
    as_json: opt.Json = False,
    **options: Unpack[RunOptions],
) -> None:
    """Write a clean copy of SRC to DST, with the evidence in DST/.elixir."""
    options["quiet"] = as_json or options.get("quiet", False)
    result = elixir.api.sanitize(
        src, dst, pipeline=pipeline, settings=parse_settings(settings), policy=policy, to=to, **options
    )
    _render(result, as_json, options["quiet"])


@command(app, "elixir scan photos/ --json")
def scan(
    src: opt.Source,
    dst: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Keep the findings in this folder.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="DST", help="Judge SRC in seconds by what a finished run, DST, has learned; no training."),
    ] = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="With --against: any folder of images; only triggers are looked for.")
    ] = False,
    false_alarms: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="With --against: share of clean images that a test may name (0.001)."),
    ] = None,
    pipeline: opt.Recipe = DEFAULT,
    settings: opt.Settings = None,
    as_json: opt.Json = False,
    **options: Unpack[RunOptions],
) -> None:
    """Look for poisoned samples in SRC and write no dataset."""
    options["quiet"] = as_json or options.get("quiet", False)
    if against is None:
        if unlabelled or false_alarms is not None:
            raise ElixirError("--unlabelled and --false-alarms are about new images: name the finished run (--against)")
        result = elixir.api.scan(src, dst, pipeline=pipeline, settings=parse_settings(settings), **options)
    else:
        _refuse_run_options(options, pipeline, settings)
        rate = {} if false_alarms is None else {"false_alarms": false_alarms}
        chosen: Any = {name: value for name, value in options.items() if name in NEW_DATA_OPTIONS}
        result = elixir.api.scan_against(src, against, dst, labelled=not unlabelled, **rate, **chosen)
    _render(result, as_json, options["quiet"])


@command(app, "elixir restore clean/ -o photos-again/")
def restore(
    dst: Annotated[Path, typer.Argument(metavar="DST", help="What `elixir sanitize` has written.")],
    original: Annotated[Path, typer.Option("--output", "-o", metavar="ORIGINAL", help="Folder to make.")],
    quiet: opt.Quiet = False,
) -> None:
    """Rebuild the input of a sanitization from its output."""
    count = elixir.api.restore(dst, original)
    if not quiet:
        out.print(f"{count} samples restored to {original}")


@command(app, "elixir purify uploads/ -o purified/ --purifier prior --sigma .1")
def purify(
    src: Annotated[str, typer.Argument(metavar="IMAGES", help="Any folder of images, or a dataset.")],
    folder: opt.Folder,
    purifier: Annotated[str, typer.Option(help="Registered name of the purifier, e.g. impure or prior.")] = "impure",
    sigma: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Noise in [0,1]; by default none for impure, 0.1 for purifiers that need it."),
    ] = None,
    prior: opt.Prior = None,
    seed: opt.Seed = 0,
    resume: opt.Resume = False,
    **options: Unpack[WorkOptions],
) -> None:
    """Clean plain images, as a classifier meets them, of adversarial perturbations; PNGs of the same names in DST."""
    done = elixir.api.purify(
        src, folder, purifier=purifier, sigma=sigma, prior=prior, seed=seed, resume=resume, **options
    )
    for id, reason in done.damaged.items():
        typer.echo(f"{printable(id)}: {printable(reason)}", err=True)
    if not options.get("quiet"):
        left_out = f"; {len(done.damaged)} could not be read" if done.damaged else ""
        out.print(f"{done.written} images written to {folder}{left_out}")


@command(app, "elixir demo")
def demo(
    folder: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Keep all files here.")] = None,
    seed: opt.Seed = 0,
    quiet: opt.Quiet = False,
) -> None:
    """Poison the shipped traffic signs, clean them, and compare classifiers trained before and after."""
    from elixir.demo import demo as run

    run(folder, seed, quiet, out.print)


def _refuse_run_options(options: RunOptions, pipeline: str, settings: list[str] | None) -> None:
    """Raise an ElixirError for options of a run of its own, of which there is none with --against."""
    given = [name for name, value in options.items() if name not in NEW_DATA_OPTIONS and value != SHARED[name][1]]
    given += ["set"] * bool(settings) + ["pipeline"] * (pipeline != DEFAULT)
    if given:
        option = given[0].replace("_", "-")
        raise ElixirError(f"--{option} is about a new run, but with --against the finished one decides: leave it out")


def _render(result: Result | NewData, as_json: bool, quiet: bool) -> None:
    if as_json:
        print_json(result.as_dict())
    elif not quiet:
        out.print(result.summary(), end="")
