"""Opens an input that `elixir.data.restore` has rebuilt as the run has opened it, whatever it may look like now."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from elixir.data.files.listed import open_list_at, open_tree
from elixir.data.manifest import class_names, lists, texts
from elixir.data.paths import escape, unescape
from elixir.data.shards.webdataset import open_webdataset
from elixir.data.source import Source
from elixir.data.tables.hf import open_saved
from elixir.data.tables.parquet import ParquetFiles, open_parquet
from elixir.data.tables.table import Choice
from elixir.errors import ElixirError


def reopen(folder: Path, facts: Mapping[str, Any], config: Mapping[str, Any], manifest: pa.Table) -> Source:
    """Open a rebuilt input, with the samples, classes and notes that the run has seen.

    Args:
        folder: where it was rebuilt; a file of a folder that could not be read becomes a pipe there.
        facts: what `restore.json` of the output says.
        config: settings of the run.
        manifest: of the output.

    Raises: ElixirError: it would be read as something else now, or the output does not say how it was read.
    """
    if "notes" not in facts:
        raise ElixirError("the output was written by a version that could not decide anew; sanitize its input again")
    source = _open(folder, facts, config, manifest)
    source.location = config["source"]
    source.notes[:] = facts["notes"]
    if source.classes != class_names(manifest) or not lists(manifest, source.samples):
        what = f"the input of the run, {escape(str(config['source']))}, cannot be rebuilt as it was read"
        raise ElixirError(f"{what}; sanitize it again, with the decisions by --decisions FILE")
    return source


def _open(folder: Path, facts: Mapping[str, Any], config: Mapping[str, Any], manifest: pa.Table) -> Source:
    choice = Choice(config["image"], config["label"], config["split"])
    match facts["kind"]:
        case "folder":
            _mark_unreadable(folder, set(facts["unreadable_files"]), manifest)
            return open_tree(folder, Choice(split=choice.split and unescape(choice.split)), trusted=True)
        case "list" if facts["list"]:
            return open_list_at(folder, facts["list"], choice)
        case "list":
            return open_tree(folder, Choice(choice.image, choice.label, choice.split and unescape(choice.split)))
        case "hf":
            return open_saved(folder, choice)
        case "parquet":
            copied = facts["sink"] == facts["kind"]
            splits = {
                split: [folder / file for file in files]
                for split, files in facts["splits"].items()
                if copied or split == facts["split"]
            }
            return open_parquet(ParquetFiles(folder, splits, list(facts["beside"])), choice, str(folder))
        case _:
            places = [*(place for place, _ in facts["shards"]), *facts["copies"]]
            return open_webdataset([folder / unescape(place) for place in places], choice, str(folder))


def _mark_unreadable(folder: Path, unreadable: set[str], manifest: pa.Table) -> None:
    """Let the samples of a folder that could not be read be there, and be unreadable again."""
    for id in unreadable.intersection(texts(manifest["id"])):
        if not os.path.lexists(folder / unescape(id)):
            os.mkfifo(folder / unescape(id))
