"""Recipes: TOML files that name the stages of a pipeline in order, their settings and the purifier."""

import tomllib
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from elixir.errors import ElixirError, explaining, nearest

COMMON = ("thresholds", "training")  # tables of settings that are no stage's
ENTRIES = ("description", "extends", "purifier", "stages", *COMMON)


@dataclass
class Recipe:
    """What a recipe says.

    Args:
        stages: names in order -> settings of each that are not at their default.
        common: table of `COMMON` -> settings that are not at their default.
        purifier: name of the one that the stages use.
    """

    name: str
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    common: dict[str, dict[str, Any]] = field(default_factory=dict)
    purifier: str = "prior"
    description: str = ""


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with Elixir, sorted."""
    return sorted(_shipped())


def read_recipe(recipe: str | Path) -> Recipe:
    """Read a shipped recipe, by its name, or a TOML file, and the one that it extends; an ElixirError if it is none."""
    path, shipped = Path(recipe), _shipped()
    if str(recipe) in shipped:
        text = shipped[str(recipe)].read_text(encoding="utf-8")
    elif path.suffix == ".toml" and path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
    else:
        hint = nearest(str(recipe), shipped, f"shipped: {', '.join(sorted(shipped))}")
        raise ElixirError(f"there is no recipe {str(recipe)!r} (a shipped name or a .toml file); {hint}")
    with explaining(tomllib.TOMLDecodeError, f"recipe {str(recipe)!r} is not valid TOML"):
        return _parse(path.stem, tomllib.loads(text))


def _shipped() -> dict[str, Any]:
    return {Path(file.name).stem: file for file in files("elixir.pipelines").iterdir() if file.name.endswith(".toml")}


def _parse(name: str, table: dict[str, Any]) -> Recipe:
    base = _extended(name, table)
    listed = table.get("stages", list(base.stages))
    if not (isinstance(listed, list) and listed and all(isinstance(stage, str) for stage in listed)):
        raise ElixirError(f'recipe {name!r} needs `stages = [...]`, their names in order, or `extends = "dataelixir"`')
    if twice := [stage for stage in listed if listed.count(stage) > 1]:
        raise ElixirError(f"recipe {name!r} lists the stage {twice[0]!r} twice; a stage runs once")
    for entry in (*listed, *COMMON):
        if not isinstance(table.get(entry, {}), dict):
            raise ElixirError(f"recipe {name!r} has no table [{entry}] of settings but {entry} = {table[entry]!r}")
    if unknown := set(table) - {*ENTRIES, *listed}:
        known = ", ".join([*ENTRIES, *listed])
        raise ElixirError(f"recipe {name!r} has an unknown entry {sorted(unknown)[0]!r}; possible here: {known}")
    return Recipe(
        name,
        {stage: base.stages.get(stage, {}) | table.get(stage, {}) for stage in listed},
        {name: base.common.get(name, {}) | table.get(name, {}) for name in COMMON},
        str(table.get("purifier", base.purifier)),
        str(table.get("description", base.description)),
    )


def _extended(name: str, table: dict[str, Any]) -> Recipe:
    """The shipped recipe that a table extends; an empty one if it extends none."""
    if "extends" not in table:
        return Recipe(name)
    base, others = table["extends"], sorted(set(_shipped()) - {name})
    if base not in others:
        known = ", ".join(others)
        raise ElixirError(f"recipe {name!r} extends {base!r}, which is no shipped recipe; shipped: {known}")
    return read_recipe(base)
