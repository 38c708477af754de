"""The commands for people who measure or train purifiers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from elixir.cli import options as opt
from elixir.cli.options import out

app = typer.Typer()


@app.command()
def denoise(
    src: opt.Source,
    sigmas: Annotated[list[float] | None, typer.Option("--sigma", help="Noise level in [0,1]; repeatable.")] = None,
    against: Annotated[list[str] | None, typer.Option(help="bm3d or nlm; may be repeated.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of images.")] = 500,
    purifier: Annotated[str, typer.Option(help="Registered name of the purifier.")] = "prior",
    prior: opt.Prior = None,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    quiet: opt.Quiet = False,
) -> None:
    """Measure the purifier's denoising on images of SRC, beside classical denoisers."""
    from elixir.data.opening import open_source
    from elixir.evaluation.denoising import compare_denoisers
    from elixir.models.device import choose_device
    from elixir.registry import find

    loaded = find("purifiers", purifier)(prior, choose_device(device))
    levels = sigmas or [0.075, 0.15, 0.26, 0.4]
    for row in compare_denoisers(open_source(src), loaded, against or [], levels, count, seed, quiet):
        sys.stdout.write(json.dumps(vars(row)) + "\n")


@app.command("train-prior")
def train_prior(
    src: opt.Source,
    weights: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.safetensors", help="Weights to write.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps; resumes from FILE's checkpoint.")] = 16000,
    size: Annotated[int, typer.Option(min=32, help="Side in pixels at which the images are read.")] = 64,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    image: opt.Image = None,
    label: opt.Label = None,
    split: opt.Split = None,
    quiet: opt.Quiet = False,
) -> None:
    """Train the embedded diffusion prior on the images of SRC."""
    from elixir.data.opening import open_source
    from elixir.models.device import choose_device
    from elixir.models.train_prior import PriorTraining, train_prior_on

    source = open_source(src, image=image, label=label, split=split)
    train_prior_on(source, size, weights, PriorTraining(steps=steps, seed=seed), choose_device(device), quiet)
    if not quiet:
        out.print(f"prior written to {weights}")
