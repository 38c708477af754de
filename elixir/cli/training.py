"""`elixir train`: purifiers and classifiers on images of one's own."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Unpack

import typer

from elixir.cli import options as opt
from elixir.cli.options import command, out
from elixir.errors import ElixirError
from elixir.options import SourceOptions, WorkOptions

if TYPE_CHECKING:
    from elixir.training.frame import TrainingJob

app = typer.Typer(no_args_is_help=True, help="Train a purifier or a classifier on images of your own.")


@command(app, "elixir train prior photos/ -o prior.safetensors")
def prior(
    src: opt.Source,
    weights: opt.Weights,
    steps: Annotated[int, typer.Option(min=1, help="Training steps; resumes from FILE's checkpoint.")] = 16000,
    size: opt.Size = 64,
    seed: opt.Seed = 0,
    **options: Unpack[WorkOptions],
) -> None:
    """Train the embedded diffusion prior on the images of SRC."""
    from elixir.training.denoiser import PriorTraining, train_prior_on

    settings = PriorTraining(steps=steps, seed=seed)
    job = _job(src, size, weights, labelled=False, **options)
    train_prior_on(job, settings)
    if not job.quiet:
        out.print(f"prior written to {weights}")


@command(app, "elixir train consistency photos/ --stage distill --initial prior.safetensors -o model.safetensors")
def consistency(
    src: opt.Source,
    weights: opt.Weights,
    stage: Annotated[Literal["distill", "finetune"], typer.Option(help="Distill a prior, or tune what came of it.")],
    initial: opt.Initial = None,
    features: opt.Features = None,
    sigmas: Annotated[
        list[float] | None, typer.Option("--sigma", help="Noise level in [0,1] to tune to; repeatable.")
    ] = None,
    steps: opt.TrainingSteps = None,
    batch: Annotated[int, typer.Option(min=4, help="Crops a step.")] = 64,
    size: opt.Size = 64,
    seed: opt.Seed = 0,
    **options: Unpack[WorkOptions],
) -> None:
    """Train the consistency model on the images of SRC."""
    from elixir.training.consistency import Distillation, FineTuning, train_consistency_on

    if stage == "finetune":
        settings = FineTuning(batch=batch, seed=seed, sigmas=tuple(sigmas or FineTuning.sigmas))
    elif sigmas:
        raise ElixirError("--sigma is for --stage finetune: a prior is distilled at all noise levels")
    else:
        settings = Distillation(batch=batch, seed=seed)
    settings = replace(settings, steps=steps or settings.steps)
    job = _job(src, size, weights, labelled=False, **options)
    loss = train_consistency_on(job, settings, initial, features)
    if not job.quiet:
        out.print(f"consistency model written to {weights}; loss in the last steps {loss:.4f}")


@command(app, "elixir train impure photos/ --stage pretrain -o impure.safetensors")
def impure(
    src: opt.Source,
    weights: opt.Weights,
    stage: Annotated[
        Literal["pretrain", "finetune"], typer.Option(help="Learn to rebuild images, or to clean adversarial ones.")
    ],
    initial: opt.Initial = None,
    features: opt.Features = None,
    steps: opt.TrainingSteps = None,
    batch: Annotated[int, typer.Option(min=4, help="Crops a step.")] = 128,
    size: opt.Size = 64,
    seed: opt.Seed = 0,
    **options: Unpack[WorkOptions],
) -> None:
    """Train the masked autoencoder that takes adversarial perturbations out of images, on the images of SRC."""
    from elixir.training.impure import FineTuning, ImpureTraining, train_impure_on

    kind = ImpureTraining if stage == "pretrain" else FineTuning
    settings = kind(steps=steps or kind.steps, batch=batch, seed=seed)
    job = _job(src, size, weights, labelled=False, **options)
    loss = train_impure_on(job, settings, initial, features)
    if not job.quiet:
        out.print(f"weights written to {weights}; loss in the last steps {loss:.4f}")


@command(app, "elixir train classifier photos/ -o classifier.safetensors")
def classifier(
    src: opt.Source,
    weights: opt.Weights,
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
    seed: opt.Seed = 0,
    **options: Unpack[WorkOptions],
) -> None:
    """Train a small classifier on the images and labels of SRC."""
    from elixir.training.classifier import ClassifierTraining, train_classifier_on

    chosen = tuple(widths or ClassifierTraining.widths)
    settings = ClassifierTraining(
        epochs, batch=batch, shift=shift, flip=flip, seed=seed, backbone="none", widths=chosen
    )
    job = _job(src, size, weights, **options)
    accuracy = train_classifier_on(job, settings)
    if not job.quiet:
        out.print(f"classifier written to {weights}; training accuracy {100 * accuracy:.1f} %")


def _job(
    src: str,
    size: int,
    weights: Path,
    labelled: bool = True,
    device: str = "auto",
    quiet: bool = False,
    **table: Unpack[SourceOptions],
) -> "TrainingJob":
    from elixir.data.open import open_source
    from elixir.models.device import choose_device
    from elixir.training.frame import TrainingJob

    return TrainingJob(open_source(src, labelled=labelled, **table), size, weights, choose_device(device), quiet)
