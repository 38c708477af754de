"""The two calls that most programs need."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from elixir.errors import ElixirError
from elixir.pipeline import Pipeline
from elixir.result import Result


def sanitize(
    src: Any,
    dst: str | Path,
    *,
    pipeline: str | Path | Pipeline = "dataelixir",
    settings: Mapping[str, object] | None = None,
    **options: Any,
) -> Result:
    """Find poisoned samples, repair them and write the cleaned dataset to `dst`.

    Args:
        src: class-per-folder tree, Hugging Face dataset (folder, parquet, hub name or object) or torch dataset.
        dst: folder to make.
        pipeline: recipe name, TOML file or a `Pipeline`.
        settings: "stage.key" -> value, over the recipe's own; not together with a `Pipeline` object.
        options: see `Pipeline.run`.

    Raises:
        ElixirError: something is unusable; nothing has been written to `dst`.

    Example:
        result = sanitize("poisoned/", "clean/")
        result.targets, result.counts, result.dataset(), result.model
    """
    return _chosen(pipeline, settings).run(src, dst, **options)


def scan(
    src: Any,
    dst: str | Path | None = None,
    *,
    pipeline: str | Path | Pipeline = "dataelixir",
    settings: Mapping[str, object] | None = None,
    **options: Any,
) -> Result:
    """Find poisoned samples and write no dataset.

    Args:
        src: as for `sanitize`.
        dst: folder for the findings; by default they are only returned.
        pipeline: as for `sanitize`.
        settings: as for `sanitize`.
        options: see `Pipeline.run`.

    Raises:
        ElixirError: something is unusable.
    """
    chosen = _chosen(pipeline, settings).without_dataset()
    if dst is None and options.get("resume"):
        raise ElixirError("without a folder for the findings nothing is kept to go on with; name one with -o")
    if dst is not None:
        return chosen.run(src, dst, **options)
    with tempfile.TemporaryDirectory(prefix="elixir-scan-") as folder:
        return replace(chosen.run(src, Path(folder) / "scan", **options), path=None)


def _chosen(pipeline: str | Path | Pipeline, settings: Mapping[str, object] | None) -> Pipeline:
    if not isinstance(pipeline, Pipeline):
        return Pipeline.from_recipe(pipeline, settings)
    if settings:
        raise ElixirError("settings are for a recipe; a Pipeline has its own: set pipeline[STAGE].KEY")
    return pipeline
