"""The commands for people with a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

import typer

import elixir
from elixir.cli import options as opt
from elixir.cli.exit_codes import ExitCode, FailOn, found
from elixir.cli.options import SHARED, command, out, parse_settings, print_json, refuse_place
from elixir.data.io import replace_text
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
    backbone: opt.Backbone = None,
    alarm_rate: opt.AlarmRate = None,
    policy: Annotated[str, typer.Option(help="Poisoned samples: relabel, drop or quarantine.")] = "relabel",
    to: Annotated[str | None, typer.Option(help="folder, list, hf, parquet or webdataset; as SRC by default.")] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Folders: hard links to SRC for what is untouched, or clones; no copies.")
    ] = False,
    symlink: Annotated[bool, typer.Option("--symlink", help="Likewise symbolic links.")] = False,
    labels_only: Annotated[
        bool, typer.Option("--labels-only", help="Write no images, but their new labels to DST/labels.csv.")
    ] = False,
    decisions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Decisions of people, as `elixir decide` takes them.")
    ] = None,
    as_json: opt.Json = False,
    fail_on: opt.FailOn = None,
    junit: opt.JUnit = None,
    **options: Unpack[RunOptions],
) -> None:
    """Write a clean copy of SRC to DST, with the evidence in DST/.elixir."""
    options["quiet"] = as_json or options.get("quiet", False)
    refuse_place(junit, "--junit")
    if link and symlink:
        raise ElixirError("--link makes hard links and --symlink symbolic ones; give one of them")
    result = elixir.api.sanitize(
        src,
        dst,
        pipeline=pipeline,
        settings=_settings(settings, backbone, alarm_rate),
        policy=policy,
        to=to,
        link="hard" if link else "symbolic" if symlink else None,
        labels_only=labels_only,
        decisions=decisions or (),
        **options,
    )
    _report(result, as_json, options["quiet"], fail_on or [], junit)


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
    backbone: opt.Backbone = None,
    alarm_rate: opt.AlarmRate = None,
    as_json: opt.Json = False,
    fail_on: opt.FailOn = None,
    junit: opt.JUnit = None,
    **options: Unpack[RunOptions],
) -> None:
    """Look for poisoned samples in SRC and write no dataset."""
    options["quiet"] = as_json or options.get("quiet", False)
    if against is None:
        if unlabelled or false_alarms is not None:
            raise ElixirError("--unlabelled and --false-alarms are about new images: name the finished run (--against)")
        refuse_place(junit, "--junit")
        result = elixir.api.scan(
            src, dst, pipeline=pipeline, settings=_settings(settings, backbone, alarm_rate), **options
        )
        _report(result, as_json, options["quiet"], fail_on or [], junit)
        return
    own = {"pipeline": pipeline != DEFAULT, "set": settings, "backbone": backbone, "alarm-rate": alarm_rate is not None}
    own |= {"fail-on": fail_on, "junit": junit}
    _refuse_run_options([name for name, given in own.items() if given], options)
    rate = {} if false_alarms is None else {"false_alarms": false_alarms}
    chosen: Any = {name: value for name, value in options.items() if name in NEW_DATA_OPTIONS}
    _say(
        elixir.api.scan_against(src, against, dst, labelled=not unlabelled, **rate, **chosen), as_json, options["quiet"]
    )


@command(app, "elixir decide clean/ --decisions decisions.csv")
def decide(
    dst: Annotated[Path, typer.Argument(metavar="DST", help="What `elixir sanitize` has written.")],
    decisions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV file of decisions, as report.html exports it.")
    ] = None,
    keep: Annotated[list[str] | None, typer.Option(metavar="ID", help="Leave a sample as it was in the input.")] = None,
    relabel: Annotated[list[str] | None, typer.Option(metavar="ID=LABEL", help="Give a sample another label.")] = None,
    drop: Annotated[list[str] | None, typer.Option(metavar="ID", help="Take a sample out.")] = None,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who decides; the user by default.")] = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write DST again after what people have decided about samples; all options for samples may be repeated."""
    given = [
        *(elixir.api.HumanDecision(id, "keep") for id in keep or ()),
        *(elixir.api.HumanDecision(id, "relabel", label) for id, label in map(_id_and_label, relabel or ())),
        *(elixir.api.HumanDecision(id, "drop") for id in drop or ()),
    ]
    if bool(given) == bool(decisions):
        raise ElixirError("give --decisions FILE, or some of --keep ID, --relabel ID=LABEL and --drop ID")
    _report(elixir.api.decide(dst, decisions or given, by), as_json, as_json or quiet)


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


@command(app, "elixir export clean/ --to label-studio -o to-label/")
def export(
    dst: Annotated[Path, typer.Argument(metavar="DST", help="What `elixir sanitize` has written.")],
    to: Annotated[str, typer.Option(help="label-studio, fiftyone, csv, hf, or card: a section for a README.md.")],
    place: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Folder to make, or file; a card is printed without it."),
    ] = None,
    only: Annotated[str, typer.Option(help="doubtful, changed or all samples.")] = "doubtful",
    quiet: opt.Quiet = False,
) -> None:
    """Hand the samples that a person should look at to another program; `elixir decide` takes decisions back."""
    if to == "card":
        text = elixir.api.card(dst)
        if place is None:
            out.print(text, end="")
        else:
            replace_text(place, text)
        return
    if place is None:
        raise ElixirError(f"--to {to} needs a place to write to; name it with -o")
    count = elixir.api.export(dst, place, to, only)  # type: ignore[arg-type]
    if not quiet:
        out.print(f"{count} samples exported to {place}")


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


def _id_and_label(pair: str) -> tuple[str, str]:
    id, equals, label = pair.rpartition("=")
    if not equals:
        raise ElixirError(f"--relabel {printable(pair)!r} should look like ID=LABEL")
    return id, label


def _refuse_run_options(given: list[str], options: RunOptions) -> None:
    """Raise an ElixirError for options of a run of its own, of which there is none with --against."""
    given += [name for name, value in options.items() if name not in NEW_DATA_OPTIONS and value != SHARED[name][1]]
    if given:
        option = given[0].replace("_", "-")
        raise ElixirError(f"--{option} is about a new run, but with --against the finished one decides: leave it out")


def _report(
    result: Result, as_json: bool, quiet: bool, fail_on: Sequence[FailOn] = (), junit: Path | None = None
) -> None:
    """Say what was found, in every form that is wanted, and exit as `fail_on` has it."""
    from elixir.cli.junit import junit_xml
    from elixir.cli.label_table import label_table

    _say(result, as_json, quiet)
    if out.is_terminal and not (as_json or quiet) and result.counts.keys() - {"kept"}:
        out.print(label_table(result), soft_wrap=False)
    if junit:
        replace_text(junit, junit_xml(result))
    if reasons := found(result, fail_on):
        typer.echo(f"elixir: found what --fail-on names: {', '.join(reasons)}", err=True)
        raise typer.Exit(ExitCode.FOUND)


def _say(told: Result | NewData, as_json: bool, quiet: bool) -> None:
    if as_json:
        print_json(told.as_dict())
    elif not quiet:
        out.print(told.summary(), end="")


def _settings(pairs: list[str] | None, backbone: str | None, alarm_rate: float | None) -> dict[str, object]:
    """What --set, --backbone and --alarm-rate give."""
    named = {"training.backbone": backbone, "thresholds.alarm_rate": alarm_rate}
    return parse_settings(pairs) | {key: value for key, value in named.items() if value is not None}
