"""What `datasets` makes of the columns of a table: by the description in its metadata, else by the types."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import datasets
import pyarrow as pa

from elixir.errors import ElixirError

METADATA = b"huggingface"
"""Key of the metadata of a schema where `datasets` describes the columns."""


def features(schema: pa.Schema) -> datasets.Features:
    """The feature of every column: as the metadata says, else as the types tell; nothing if they do not."""
    for told in (schema, schema.remove_metadata()):
        with suppress(Exception):  # metadata is anything that somebody wrote there, and not every type has a feature
            return datasets.Features.from_arrow_schema(told)
    return datasets.Features()


def described(schema: pa.Schema) -> dict[str, Any]:
    """The features that the metadata has for columns of their type; whatever other columns there are."""
    known = {}
    for name, told in description(schema).items():
        with suppress(Exception):  # as above
            column = datasets.Features.from_dict({name: told})
            if column.arrow_schema.field(name).type == schema.field(name).type:
                known[name] = column[name]
    return known


def description(schema: pa.Schema) -> dict[str, Any]:
    """What the metadata says of each column, as it stands there; nothing if it is no description."""
    with suppress(Exception):
        return column_descriptions(json.loads((schema.metadata or {})[METADATA])["info"])
    return {}


def column_descriptions(info: dict[str, Any]) -> dict[str, Any]:
    """The columns that the facts of a dataset describe, as they are there; nothing if that is no description."""
    told = info.get("features")
    if isinstance(told, dict) and all(isinstance(column, dict | list) for column in told.values()):
        return told
    return {}


def with_description(schema: pa.Schema, columns: dict[str, Any]) -> pa.Schema:
    """The schema with another description of its columns."""
    metadata = {**(schema.metadata or {}), METADATA: json.dumps({"info": {"features": columns}})}
    return schema.with_metadata(metadata)


def refuse_unknown(columns: dict[str, Any], place: str) -> None:
    """Raise an ElixirError for a description of a column that the installed `datasets` does not understand.

    Class names and types of the columns would be lost, and the output could not be loaded as the input is.
    """
    for name, told in columns.items():
        try:
            datasets.Features.from_dict({name: told})
        except Exception as error:
            kinds = (kind for kind in _kinds(told) if not isinstance(getattr(datasets.features, kind, None), type))
            kind = next(kinds, None)
            what = f"is of the feature type {kind[:80]!r}" if kind else f"is described in a way ({str(error)[:200]})"
            remedy = "upgrade it (pip install -U datasets), or save the dataset without that column"
            version = f"which datasets {datasets.__version__}, the version installed, does not know"
            raise ElixirError(f"column {name!r} of {place} {what}, {version}; {remedy}") from error


def ignored_description(schema: pa.Schema) -> list[str]:
    """Sentences for people about what the metadata says of the columns and nobody can understand."""
    if METADATA not in (schema.metadata or {}):
        return []
    told = description(schema)
    if not told:
        with suppress(Exception):
            if json.loads(schema.metadata[METADATA])["info"].get("features") is None:  # there is none to ignore
                return []
        return ["the description of the columns that is stored with the table is not understood, and ignored"]
    known, notes = described(schema), []
    for name in sorted(set(schema.names) & (told.keys() - known.keys())):
        if isinstance(told[name], dict) and told[name].get("_type") == "ClassLabel":
            kind = schema.field(name).type
            notes.append(f"column {name!r} has class names, which do not fit its type {kind} and are ignored")
    return notes


def _kinds(told: Any) -> Iterator[str]:
    """The names of all feature types in the description of a column, however deep."""
    if isinstance(told, dict):
        if isinstance(told.get("_type"), str):
            yield told["_type"]
        told = list(told.values())
    if isinstance(told, list):
        for part in told:
            yield from _kinds(part)
