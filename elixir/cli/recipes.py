"""The command that shows what there is to choose and to set."""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict
from typing import Annotated

import typer

from elixir.cli.options import out

app = typer.Typer()


@app.command()
def recipes(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME|FILE.toml]", help="The one to show; without it they are listed.")
    ] = None,
) -> None:
    """List the recipes, or the stages of one with all settings, as --set takes them."""
    from elixir.recipe import read_recipe, shipped_recipes
    from elixir.registry import names

    if name is not None:
        _show(name)
        return
    for known in shipped_recipes():
        out.print(f"{known}: {read_recipe(known).description}")
    out.print(f"purifiers: {', '.join(names('purifiers'))}")


def _show(name: str) -> None:
    from elixir.pipeline import Pipeline
    from elixir.recipe import read_recipe
    from elixir.settings import explained

    pipeline = Pipeline.from_recipe(name)
    out.print(f"{read_recipe(name).description}\npurifier = {pipeline.purifier}")
    for stage in pipeline.stages:
        about = inspect.cleandoc(type(stage).__doc__ or "").split("\n\n")[0].replace("\n", " ")
        out.print(f"\n{stage.name}: {about}")
        said = explained(type(stage))
        for key, value in asdict(stage).items():
            out.print(f"  {stage.name}.{key} = {json.dumps(value)}\n      {said[key]}")
