"""The commands that show what there is to choose and to set."""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elixir.cli import options as opt
from elixir.cli.options import command, out
from elixir.schema import SchemaName, read_schema

if TYPE_CHECKING:
    from elixir.settings import Settings

app = typer.Typer()


@command(app, "elixir recipes dataelixir")
def recipes(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME|FILE.toml]", help="The one to show; without it they are listed.")
    ] = None,
) -> None:
    """List the recipes, or the stages of one with all settings, as --set takes them."""
    from elixir.pipeline import Pipeline
    from elixir.recipe import read_recipe, shipped_recipes
    from elixir.registry import names

    if name is None:
        for known in shipped_recipes():
            out.print(f"{known}: {read_recipe(known).description}")
        out.print(f"purifiers: {', '.join(names('purifiers'))}")
        return
    pipeline = Pipeline.from_recipe(name)
    out.print(f"{read_recipe(name).description}\npurifier = {pipeline.purifier}")
    for stage in pipeline.stages:
        _show(stage, asdict(stage))  # type: ignore[call-overload]
    _show(pipeline.thresholds, vars(pipeline.thresholds))
    _show(pipeline.training, pipeline.training.shared())


@command(app, "elixir schema result")
def schema(
    name: Annotated[SchemaName, typer.Argument(help="result: what --json prints; findings: .elixir/findings.json.")],
) -> None:
    """Print the JSON schema of what other programs may read."""
    sys.stdout.write(read_schema(name))


@command(app, "elixir attacks --gallery attacks.png")
def attacks(
    gallery: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw original, poisoned, difference of each attack.")
    ] = None,
    src: Annotated[
        str | None, typer.Option(metavar="SRC", help="Images for the gallery; the shipped signs by default.")
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


def _show(settings: Settings, values: dict[str, Any]) -> None:
    from elixir.settings import explained

    kind = type(settings)
    about = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    out.print(f"\n{kind.name}: {about}")
    said = explained(kind)
    for key, value in values.items():
        out.print(f"  {kind.name}.{key} = {json.dumps(value)}\n      {said[key]}")
