"""Arguments and options that several commands have."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from elixir.errors import ElixirError

out = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)

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
    typer.Option(
        "--reference",
        metavar="MODEL",
        help="Your own classifier: TorchScript or .safetensors file, timm name, transformers folder.",
    ),
]
Prior = Annotated[
    str | None, typer.Option("--prior", metavar="MODEL", help="Weights of the purifier: file, folder or hub name.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides every draw and training.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Samples in flight; has no influence on the result.")]
Image = Annotated[
    str | None, typer.Option("--image", metavar="COLUMN", help="Image column of a table, where it cannot be told.")
]
Label = Annotated[
    str | None, typer.Option("--label", metavar="COLUMN", help="Label column of a table, where it cannot be told.")
]
Split = Annotated[str | None, typer.Option(help="Split of a dataset with several.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the destination; forget an interrupted run.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Folder = Annotated[Path, typer.Option("--output", "-o", metavar="DST", help="Folder to make.")]
AttackSettings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the attack.")
]

STAGE_FORM = "STAGE.KEY=VALUE, for example probe.hosts=8"
ATTACK_FORM = "KEY=VALUE, for example alpha=0.2"


def parse_settings(pairs: list[str], form: str = STAGE_FORM) -> dict[str, object]:
    """Parse "key=value" pairs; values as in TOML, anything else is text.

    Args:
        pairs: as given.
        form: what they should look like, for the message.

    Raises:
        ElixirError: no equals sign.
    """
    settings: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ElixirError(f"the setting {pair!r} should look like {form}")
        try:
            settings[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key.strip()] = value.strip()
    return settings
