"""Arguments and options that several commands have, and settings as they are written on the command line."""

import inspect
import json
import os
import sys
import tomllib
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from rich.console import Console

from elixir.cli import exit_codes
from elixir.data.paths import escape
from elixir.errors import ElixirError

out = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)

Source = Annotated[
    str,
    typer.Argument(metavar="SRC", help="Class folders, list, saved dataset, parquet, shards, .zip, a URL, or hf:NAME."),
]
TestSet = Annotated[str, typer.Argument(metavar="TEST", help="Clean test set, of any kind that SRC can be.")]
Folder = Annotated[Path, typer.Option("--output", "-o", metavar="DST", help="Folder to make.")]
Results = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")]
Weights = Annotated[Path, typer.Option("--output", "-o", metavar="FILE.safetensors", help="Weights to write.")]
Initial = Annotated[Path | None, typer.Option(metavar="FILE", help="Weights to start from.")]
Features = Annotated[Path | None, typer.Option(metavar="FILE", help="Classifier for the perceptual distance.")]
TrainingSteps = Annotated[
    int | None, typer.Option(min=1, help="Training steps; resumes from FILE's checkpoint.", show_default="by stage")
]
Size = Annotated[int, typer.Option(min=32, help="Side in pixels at which the images are read.")]
Recipe = Annotated[str, typer.Option(metavar="NAME|FILE.toml", help="Recipe: a shipped name or a file.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="STAGE.KEY=VALUE", help="Change one setting; may be repeated.")
]
AttackSettings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the attack.")
]
Classifier = Annotated[
    str, typer.Option(metavar="MODEL", help="Elixir's .safetensors, TorchScript, timm name, transformers folder.")
]
Reference = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="Your own classifier: TorchScript or .safetensors file, timm name, transformers folder."
    ),
]
Backbone = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Where classifiers start: features, none, timm:NAME, transformers folder or name, TorchScript file.",
        show_default="features",
    ),
]
AlarmRate = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Of clean sets, the share that may be accused of an attack; thresholds follow.",
        show_default="0.01",
    ),
]
Prior = Annotated[str | None, typer.Option(metavar="MODEL", help="Weights of the purifier: file, folder or hub name.")]
Image = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Column or field of the images, if it cannot be told.")
]
Label = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Column or field of the labels, if it cannot be told.")
]
Split = Annotated[str | None, typer.Option(help="Split of a dataset with several.")]
FollowLinks = Annotated[bool, typer.Option("--follow-links", help="Read what links out of a folder lead to.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides every draw and training.")]
ShardSize = Annotated[str | None, typer.Option(metavar="SIZE", help="Size of parquet files in DST, such as 500MB.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Samples in flight; has no influence on results.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads that decode images, or processes with ray; no influence on results.",
        show_default="one a core",
    ),
]
Executor = Annotated[str, typer.Option(metavar="local|ray", help="Where the work is done; no influence on results.")]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster to work on, auto for this machine's.", show_default="started here")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the destination; forget an interrupted run.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
FailOn = Annotated[
    list[exit_codes.FailOn] | None,
    typer.Option(
        metavar="attack|change|not-judged",
        help="Exit with 3 if a label is under attack, a sample changed, a label not judged; may be repeated.",
    ),
]
JUnit = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE.xml", help="Write JUnit XML for CI: a test case for each label.")
]
Target = Annotated[str | None, typer.Option(help="Class that the trigger is to stand for.")]
AllToAll = Annotated[bool, typer.Option("--all-to-all", help="Instead of a target: every class becomes the next one.")]

SHARED: dict[str, tuple[Any, Any]] = {
    "image": (Image, None),
    "label": (Label, None),
    "split": (Split, None),
    "follow_links": (FollowLinks, False),
    "device": (Device, "auto"),
    "quiet": (Quiet, False),
    "reference": (Reference, None),
    "prior": (Prior, None),
    "seed": (Seed, 0),
    "shard_size": (ShardSize, None),
    "batch_size": (BatchSize, 256),
    "workers": (Workers, None),
    "executor": (Executor, "local"),
    "address": (Address, None),
    "resume": (Resume, False),
    "overwrite": (Overwrite, False),
}
"""How the options of `elixir.options` are written on the command line, and their defaults."""

STAGE_FORM = "STAGE.KEY=VALUE, for example probe.carriers=8"
ATTACK_FORM = "KEY=VALUE, for example alpha=0.2"


def command(app: typer.Typer, example: str) -> Callable[[Callable[..., None]], None]:
    """Decorator for a command of `app` with an example; `**options: Unpack[GROUP]` becomes the options of the group."""

    def add(function: Callable[..., None]) -> None:
        signature = inspect.signature(function, eval_str=True)
        parameters, keyword = [], inspect.Parameter.KEYWORD_ONLY
        for parameter in signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                (group,) = get_args(parameter.annotation)
                for option in get_type_hints(group):
                    annotation, default = SHARED[option]
                    parameters.append(inspect.Parameter(option, keyword, default=default, annotation=annotation))
            else:
                parameters.append(parameter.replace(kind=keyword))

        @wraps(function)
        def run(**given: Any) -> None:
            function(**given)

        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        app.command(epilog=f"Example: {example}")(run)

    return add


def parse_settings(pairs: list[str] | None, form: str = STAGE_FORM) -> dict[str, object]:
    """Parse "key=value" pairs, values as in TOML or else as text; without "=" an ElixirError tells the `form`."""
    settings: dict[str, object] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ElixirError(f"the setting {pair!r} should look like {form}")
        try:
            settings[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key.strip()] = value.strip()
    return settings


def refuse_place(file: Path | None, option: str) -> None:
    """Raise an ElixirError where a file that is going to be written at the very end cannot be."""
    if file is None:
        return
    if file.is_dir():
        raise ElixirError(f"{option} {escape(str(file))} is a folder; name a file in it")
    if not os.access(file.parent, os.W_OK):
        why = "may not be written to" if file.parent.is_dir() else "is no folder"
        raise ElixirError(f"{option} {escape(str(file))}: {escape(str(file.parent))} {why}; choose or make another")


def print_json(value: Any, indent: int | None = None) -> None:
    """Print plain values as JSON."""
    sys.stdout.write(json.dumps(value, indent=indent) + "\n")
