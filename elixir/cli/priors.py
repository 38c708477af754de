"""The commands for people who measure or train purifiers and classifiers."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from elixir.cli import options as opt
from elixir.cli.options import out
from elixir.errors import ElixirError

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
    image: opt.Image = None,
    label: opt.Label = None,
    split: opt.Split = None,
    quiet: opt.Quiet = False,
) -> None:
    """Measure how near a purifier leads noisy images of SRC to the clean ones, beside classical denoisers."""
    from elixir.data.open import open_source
    from elixir.evaluation.denoising import compare_denoisers
    from elixir.models.device import choose_device
    from elixir.models.features import load_perceptual
    from elixir.registry import find

    loaded = find("purifiers", purifier)(prior, choose_device(device))
    levels = sigmas or [0.075, 0.15, 0.26, 0.4]
    perceptual = load_perceptual(None, choose_device("cpu"))
    source = open_source(src, image=image, label=label, split=split)
    for row in compare_denoisers(source, loaded, against or [], levels, count, seed, quiet, perceptual):
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
    from elixir.data.open import open_source
    from elixir.models.device import choose_device
    from elixir.training.prior import PriorTraining, train_prior_on

    source = open_source(src, image=image, label=label, split=split)
    train_prior_on(source, size, weights, PriorTraining(steps=steps, seed=seed), choose_device(device), quiet)
    if not quiet:
        out.print(f"prior written to {weights}")


@app.command("train-consistency")
def train_consistency(
    src: opt.Source,
    weights: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.safetensors", help="Weights to write.")],
    stage: Annotated[Literal["distill", "finetune"], typer.Option(help="Distill a prior, or tune what came of it.")],
    initial: Annotated[
        Path | None,
        typer.Option("--initial", metavar="FILE", help="What to start from: a prior to distill, a model to tune."),
    ] = None,
    features: Annotated[
        Path | None, typer.Option("--features", metavar="FILE", help="Classifier for the perceptual distance.")
    ] = None,
    sigmas: Annotated[
        list[float] | None, typer.Option("--sigma", help="Noise level in [0,1] to tune to; repeatable.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps; resumes from FILE's checkpoint.", show_default="by stage")
    ] = None,
    batch: Annotated[int, typer.Option(min=4, help="Crops a step.")] = 64,
    size: Annotated[int, typer.Option(min=32, help="Side in pixels at which the images are read.")] = 64,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    image: opt.Image = None,
    label: opt.Label = None,
    split: opt.Split = None,
    quiet: opt.Quiet = False,
) -> None:
    """Train the consistency model on the images of SRC."""
    from elixir.data.open import open_source
    from elixir.models.device import choose_device
    from elixir.training.consistency import Distillation, FineTuning, train_consistency_on

    if stage == "distill":
        if sigmas:
            raise ElixirError("--sigma is for --stage finetune: a prior is distilled at all noise levels")
        settings = Distillation(batch=batch, seed=seed)
    else:
        settings = FineTuning(batch=batch, seed=seed, sigmas=tuple(sigmas or FineTuning.sigmas))
    settings = replace(settings, steps=steps or settings.steps)
    source = open_source(src, image=image, label=label, split=split)
    loss = train_consistency_on(source, size, weights, settings, choose_device(device), quiet, initial, features)
    if not quiet:
        out.print(f"consistency model written to {weights}; loss in the last steps {loss:.4f}")


@app.command("train-impure")
def train_impure(
    src: opt.Source,
    weights: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.safetensors", help="Weights to write.")],
    stage: Annotated[
        Literal["pretrain", "finetune"], typer.Option(help="Learn to rebuild images, or to clean adversarial ones.")
    ],
    initial: Annotated[
        Path | None, typer.Option("--initial", metavar="FILE", help="The pre-trained network to fine-tune.")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option("--features", metavar="FILE", help="Classifier to attack and for the perceptual distance."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps; resumes from FILE's checkpoint.", show_default="by stage")
    ] = None,
    batch: Annotated[int, typer.Option(min=4, help="Crops a step.")] = 128,
    size: Annotated[int, typer.Option(min=32, help="Side in pixels at which the images are read.")] = 64,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    image: opt.Image = None,
    label: opt.Label = None,
    split: opt.Split = None,
    quiet: opt.Quiet = False,
) -> None:
    """Train the masked autoencoder that takes adversarial perturbations out of images, on the images of SRC."""
    from elixir.data.open import open_source
    from elixir.models.device import choose_device
    from elixir.training.impure import FineTuning, ImpureTraining, train_impure_on

    kind = ImpureTraining if stage == "pretrain" else FineTuning
    settings = kind(steps=steps or kind.steps, batch=batch, seed=seed)
    source = open_source(src, image=image, label=label, split=split)
    loss = train_impure_on(source, size, weights, settings, choose_device(device), quiet, initial, features)
    if not quiet:
        out.print(f"weights written to {weights}; loss in the last steps {loss:.4f}")


@app.command("train-classifier")
def train_classifier(
    src: opt.Source,
    weights: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.safetensors", help="Classifier to write.")],
    size: Annotated[int, typer.Option(min=8, help="Side in pixels at which the images are read.")] = 64,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the images; resumes from FILE's checkpoint.")] = 8,
    batch: Annotated[int, typer.Option(min=2, help="Images a step.")] = 64,
    shift: Annotated[
        float,
        typer.Option(
            min=0, max=0.5, help="Largest random translation, a share of the image's side; a pixel at least, or 0."
        ),
    ] = 1 / 16,
    flip: Annotated[bool, typer.Option("--flip", help="Mirror half of the images.")] = False,
    widths: Annotated[
        list[int] | None,
        typer.Option(
            "--width", min=1, help="Channels at half, quarter, ... resolution; repeatable.", show_default="96, 192"
        ),
    ] = None,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    image: opt.Image = None,
    label: opt.Label = None,
    split: opt.Split = None,
    quiet: opt.Quiet = False,
) -> None:
    """Train a small classifier on the images and labels of SRC."""
    from elixir.data.open import open_source
    from elixir.models.device import choose_device
    from elixir.training.classifier import ClassifierTraining, train_classifier_on

    source = open_source(src, image=image, label=label, split=split)
    settings = ClassifierTraining(
        epochs=epochs, batch=batch, shift=shift, flip=flip, seed=seed, widths=tuple(widths or ClassifierTraining.widths)
    )
    accuracy = train_classifier_on(source, size, weights, settings, choose_device(device), quiet)
    if not quiet:
        out.print(f"classifier written to {weights}; training accuracy {100 * accuracy:.1f} %")
