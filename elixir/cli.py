"""The command line: parse, call the API, render."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from elixir.errors import ElixirError

app = typer.Typer(
    help="Find and repair backdoor-poisoned samples in labelled image datasets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console(markup=False, highlight=False, soft_wrap=True)

Source = Annotated[
    str,
    typer.Argument(metavar="SRC", help="Class-per-folder images, Hugging Face dataset folder, parquet, or hub name."),
]
Recipe = Annotated[str, typer.Option("--pipeline", metavar="NAME|FILE.toml", help="Recipe: a shipped name or a file.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="STAGE.KEY=VALUE", help="Change one setting; may be repeated.")
]
Reference = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Your own classifier: TorchScript file, timm name, transformers folder."),
]
Prior = Annotated[str | None, typer.Option(metavar="MODEL", help="Weights of the purifier: file, folder or hub name.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Seed = Annotated[int, typer.Option(help="Decides every draw and training.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Samples in flight; has no influence on the result.")]
Image = Annotated[str | None, typer.Option(metavar="COLUMN", help="Image column of a table, where it cannot be told.")]
Label = Annotated[str | None, typer.Option(metavar="COLUMN", help="Label column of a table, where it cannot be told.")]
Split = Annotated[str | None, typer.Option(help="Split of a dataset with several.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the destination; forget an interrupted run.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def sanitize(
    src: Source,
    dst: Annotated[Path, typer.Option("--output", "-o", metavar="DST", help="Folder to make.")],
    pipeline: Recipe = "dataelixir",
    settings: Settings = None,
    reference: Reference = None,
    prior: Prior = None,
    device: Device = "auto",
    seed: Seed = 0,
    policy: Annotated[str, typer.Option(help="Poisoned samples: relabel, drop or quarantine.")] = "relabel",
    to: Annotated[str | None, typer.Option(help="Kind of DST: folder, hf or parquet; as SRC by default.")] = None,
    batch_size: BatchSize = 256,
    image: Image = None,
    label: Label = None,
    split: Split = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a clean copy of SRC to DST, with the evidence in DST/.elixir."""
    from elixir.api import sanitize as run

    result = run(
        src,
        dst,
        pipeline=pipeline,
        settings=parse_settings(settings or []),
        reference=reference,
        prior=prior,
        device=device,
        seed=seed,
        policy=policy,
        to=to,
        batch_size=batch_size,
        image=image,
        label=label,
        split=split,
        resume=resume,
        overwrite=overwrite,
        quiet=quiet or as_json,
    )
    _render(result, quiet, as_json)


@app.command()
def scan(
    src: Source,
    dst: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Keep the findings in this folder.")
    ] = None,
    pipeline: Recipe = "dataelixir",
    settings: Settings = None,
    reference: Reference = None,
    prior: Prior = None,
    device: Device = "auto",
    seed: Seed = 0,
    batch_size: BatchSize = 256,
    image: Image = None,
    label: Label = None,
    split: Split = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Look for poisoned samples in SRC and write no dataset."""
    from elixir.api import scan as run

    result = run(
        src,
        dst,
        pipeline=pipeline,
        settings=parse_settings(settings or []),
        reference=reference,
        prior=prior,
        device=device,
        seed=seed,
        batch_size=batch_size,
        image=image,
        label=label,
        split=split,
        resume=resume,
        overwrite=overwrite,
        quiet=quiet or as_json,
    )
    _render(result, quiet, as_json)


@app.command()
def restore(
    dst: Annotated[Path, typer.Argument(metavar="DST", help="What `elixir sanitize` has written.")],
    original: Annotated[Path, typer.Option("--output", "-o", metavar="ORIGINAL", help="Folder to make.")],
    quiet: Quiet = False,
) -> None:
    """Rebuild the input of a sanitization from its output."""
    from elixir.data.restore import restore as run

    count = run(dst, original)
    if not quiet:
        out.print(f"{count} samples restored to {original}")


@app.command()
def poison(
    src: Source,
    dst: Annotated[Path, typer.Option("--output", "-o", metavar="DST", help="Folder to make.")],
    attack: Annotated[str, typer.Option(help="Name of the attack, e.g. badnets or blended.")],
    target: Annotated[str, typer.Option(help="Class that the trigger is to stand for.")],
    rate: Annotated[float, typer.Option(min=0, max=1, help="Share of samples to poison.")] = 0.1,
    rate_of: Annotated[str | None, typer.Option(help="What RATE is a share of: dataset or class.")] = None,
    select: Annotated[str | None, typer.Option(help="What may be poisoned: any, non_target or target.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the attack.")
    ] = None,
    seed: Seed = 0,
    image: Image = None,
    label: Label = None,
    split: Split = None,
    quiet: Quiet = False,
) -> None:
    """Write a poisoned copy of SRC to DST, for experiments, and the truth beside it."""
    from elixir.data.opening import open_source
    from elixir.registry import find

    made = find("attacks", attack).configure(parse_settings(settings or []))
    source = open_source(src, image=image, label=label, split=split)
    done = made.poison_dataset(source, dst, target, rate=rate, rate_of=rate_of, select=select, seed=seed)
    if not quiet:
        out.print(f"{done.poisoned} of {done.samples} samples poisoned in {done.out}; the truth is in {done.truth}")


@app.command()
def score(
    dst: Annotated[Path, typer.Argument(metavar="DST", help="What `elixir sanitize` has written.")],
    truth: Annotated[Path | None, typer.Option(metavar="FILE", help="The truth that `elixir poison` wrote.")] = None,
    test: Annotated[str | None, typer.Option(metavar="SRC", help="Clean test set to train for.")] = None,
    attack: Annotated[str | None, typer.Option(help="Attack on the test set; that of the truth by default.")] = None,
    target: Annotated[str | None, typer.Option(help="Class that the trigger stands for, likewise.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Fresh classifiers to train.")] = 3,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the attack.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Compare a result with the truth, and train fresh classifiers on it (DST may be any dataset for that)."""
    from elixir.data.opening import open_source
    from elixir.registry import find
    from elixir.result import read_result
    from elixir.scoring import attack_of, read_truth, recovery, train_and_attack

    report: dict[str, Any] = {"dataset": str(dst)}
    if truth is not None:
        report |= vars(recovery(read_result(dst).table, read_truth(truth)))
    if test is not None:
        chosen = parse_settings(settings or [])
        if attack is None and truth is not None:
            attack, chosen, target = attack_of(truth)
        if attack is None or target is None:
            raise ElixirError("--test needs --truth, or --attack and --target")
        made = find("attacks", attack).configure(chosen)
        outcomes = train_and_attack(open_source(dst), open_source(test), made, target, list(range(seeds)), quiet=quiet)
        report["outcomes"] = [vars(outcome) for outcome in outcomes]
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


@app.command()
def denoise(
    src: Source,
    sigmas: Annotated[list[float] | None, typer.Option("--sigma", help="Noise level in [0,1]; repeatable.")] = None,
    against: Annotated[list[str] | None, typer.Option(help="bm3d or nlm; may be repeated.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of images.")] = 500,
    purifier: Annotated[str, typer.Option(help="Registered name of the purifier.")] = "prior",
    prior: Prior = None,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Measure the purifier's denoising on images of SRC, beside classical denoisers."""
    from elixir.data.opening import open_source
    from elixir.denoising import compare_denoisers
    from elixir.models.device import choose_device
    from elixir.registry import find

    loaded = find("purifiers", purifier)(prior, choose_device(device))
    levels = sigmas or [0.075, 0.15, 0.26, 0.4]
    for row in compare_denoisers(open_source(src), loaded, against or [], levels, count, seed, quiet):
        sys.stdout.write(json.dumps(vars(row)) + "\n")


@app.command("train-prior")
def train_prior(
    src: Source,
    weights: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.safetensors", help="Weights to write.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps; resumes from FILE's checkpoint.")] = 16000,
    size: Annotated[int, typer.Option(min=32, help="Side in pixels at which the images are read.")] = 64,
    device: Device = "auto",
    seed: Seed = 0,
    image: Image = None,
    label: Label = None,
    split: Split = None,
    quiet: Quiet = False,
) -> None:
    """Train the embedded diffusion prior on the images of SRC."""
    from elixir.data.opening import open_source
    from elixir.models.device import choose_device
    from elixir.models.train_prior import PriorTraining, train_prior_on

    source = open_source(src, image=image, label=label, split=split)
    train_prior_on(source, size, weights, PriorTraining(steps=steps, seed=seed), choose_device(device), quiet)
    if not quiet:
        out.print(f"prior written to {weights}")


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Keep all files here.")] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Poison the shipped traffic signs, clean them, and compare classifiers trained before and after."""
    from elixir.demo import demo as run

    run(folder, seed, quiet, out.print)


def parse_settings(pairs: list[str]) -> dict[str, object]:
    """Parse "key=value" pairs; values as in TOML, anything else is text.

    Raises:
        ElixirError: no equals sign.
    """
    settings: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ElixirError(f"--set {pair!r} should look like STAGE.KEY=VALUE, for example probe.hosts=8")
        try:
            settings[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key.strip()] = value.strip()
    return settings


def _render(result: Any, quiet: bool, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result.as_dict()) + "\n")
    elif not quiet:
        out.print(result.summary(), end="")


@contextmanager
def _errors_for_people() -> Iterator[None]:
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    try:
        yield
    except ElixirError as error:
        console.print(f"elixir: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("elixir: interrupted; the same command with --resume goes on from here")
        sys.exit(130)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        console.print(f"elixir: {error.strerror or error}{where}; when that is mended, --resume goes on from here")
        sys.exit(1)


def main() -> None:
    """Entry point of the `elixir` command."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with _errors_for_people():
        app(standalone_mode=True)
