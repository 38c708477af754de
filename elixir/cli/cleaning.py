"""The commands for people with a dataset."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from elixir.cli import options as opt
from elixir.cli.options import out, parse_settings
from elixir.data.paths import printable

app = typer.Typer()


@app.command()
def sanitize(
    src: opt.Source,
    dst: opt.Folder,
    pipeline: opt.Recipe = "dataelixir",
    settings: opt.Settings = None,
    reference: opt.Reference = None,
    prior: opt.Prior = None,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    policy: Annotated[str, typer.Option(help="Poisoned samples: relabel, drop or quarantine.")] = "relabel",
    to: Annotated[str | None, typer.Option(help="Kind of DST: folder, hf or parquet; as SRC by default.")] = None,
    batch_size: opt.BatchSize = 256,
    image: opt.Image = None,
    label: opt.Label = None,
    split: opt.Split = None,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
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
    src: opt.Source,
    dst: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Keep the findings in this folder.")
    ] = None,
    pipeline: opt.Recipe = "dataelixir",
    settings: opt.Settings = None,
    reference: opt.Reference = None,
    prior: opt.Prior = None,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    batch_size: opt.BatchSize = 256,
    image: opt.Image = None,
    label: opt.Label = None,
    split: opt.Split = None,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
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
    quiet: opt.Quiet = False,
) -> None:
    """Rebuild the input of a sanitization from its output."""
    from elixir.data.restore import restore as run

    count = run(dst, original)
    if not quiet:
        out.print(f"{count} samples restored to {original}")


@app.command()
def purify(
    src: Annotated[str, typer.Argument(metavar="IMAGES", help="Any folder of images, or a dataset.")],
    folder: opt.Folder,
    purifier: Annotated[str, typer.Option(help="Registered name of the purifier, e.g. impure or prior.")] = "impure",
    sigma: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Noise in [0,1]; by default none for impure, 0.1 for purifiers that need it."),
    ] = None,
    prior: opt.Prior = None,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    image: opt.Image = None,
    label: opt.Label = None,
    split: opt.Split = None,
    resume: opt.Resume = False,
    quiet: opt.Quiet = False,
) -> None:
    """Clean plain images, as a classifier meets them, of adversarial perturbations; PNGs of the same names in DST."""
    from elixir.data.open import open_source
    from elixir.models.device import choose_device
    from elixir.models.weights import sha256_of
    from elixir.purify import purify_images
    from elixir.registry import find

    source = open_source(src, image=image, label=label, split=split, labelled=False)
    loaded = find("purifiers", purifier)(prior, choose_device(device))
    names: dict[str, object] = {"purifier": purifier, "prior": prior, "prior_sha256": sha256_of(prior)}
    done = purify_images(source, folder, loaded, sigma, seed, names, resume, quiet)
    for id, reason in done.damaged.items():
        typer.echo(f"{printable(id)}: {printable(reason)}", err=True)
    if not quiet:
        left_out = f"; {len(done.damaged)} could not be read" if done.damaged else ""
        out.print(f"{done.written} images written to {folder}{left_out}")


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Keep all files here.")] = None,
    seed: opt.Seed = 0,
    quiet: opt.Quiet = False,
) -> None:
    """Poison the shipped traffic signs, clean them, and compare classifiers trained before and after."""
    from elixir.demo import demo as run

    run(folder, seed, quiet, out.print)


def _render(result: Any, quiet: bool, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result.as_dict()) + "\n")
    elif not quiet:
        out.print(result.summary(), end="")
