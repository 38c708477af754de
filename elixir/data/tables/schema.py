"""One schema for the files of a dataset that drifted: columns by name, in types that hold the values of all files."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from elixir.data.paths import escape
from elixir.data.tables.features import description, refuse_unknown, with_description
from elixir.errors import ElixirError

REPORTED = 5  # differences of a file that an error names

_VIEWS = {"string_view": pa.string(), "binary_view": pa.binary()}


def unified(files: list[Path], schemas: list[pa.Schema]) -> pa.Schema:
    """The columns of the first file, each in the narrowest type that holds those of all files; nulls go with any.

    Views become the types that they are views of.

    Raises: ElixirError: a file has other columns, types that do not go together, other names of labels, or features
    that `datasets` does not know.
    """
    descriptions = [description(schema) for schema in schemas]
    for file, schema, found in zip(files, schemas, descriptions, strict=True):
        refuse_unknown(found, escape(str(file)))
        if len(set(schema.names)) < len(schema.names):
            raise ElixirError(f"{escape(str(file))} has two columns of one name; rename one; {listed(schema)}")
    whole = pa.schema([field.with_type(_without_views(field.type)) for field in schemas[0]], schemas[0].metadata)
    for file, schema in zip(files[1:], schemas[1:], strict=True):
        if not schema.equals(whole):
            columns, differences = _merged(whole, schema)
            _refuse(differences, f"{escape(str(file))} has other columns than {escape(str(files[0]))}")
            whole = pa.schema(columns, whole.metadata)
    told: dict[str, Any] = {}
    for schema, found in zip(reversed(schemas), reversed(descriptions), strict=True):  # the first that is not all null
        told |= {name: found.get(name) for name in whole.names if not pa.types.is_null(schema.field(name).type)}
    for file, schema, found in zip(files, schemas, descriptions, strict=True):
        pairs = [(name, _label_names(found.get(name)), _label_names(told.get(name))) for name in whole.names]
        differences = [
            f"column {name!r} has {_shown(names)} against {_shown(wanted)}"
            for name, names, wanted in pairs
            if names != wanted and not pa.types.is_null(schema.field(name).type)
        ]
        _refuse(differences, f"{escape(str(file))} has other names of labels than {escape(str(files[0]))}")
    columns = {**descriptions[0], **{name: text for name, text in told.items() if text}}
    return whole if columns == descriptions[0] else with_description(whole, columns)


def changed_columns(schema: pa.Schema, schemas: list[pa.Schema]) -> list[str]:
    """The columns that have another type in some of the files."""
    return [field.name for field in schema if any(other.field(field.name).type != field.type for other in schemas)]


def conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    """Rows of a file in the unified schema."""
    if batch.schema.equals(schema):
        return pa.Table.from_batches([batch], schema)
    return pa.Table.from_batches([batch]).select(schema.names).cast(schema)


def listed(schema: pa.Schema) -> str:
    """The columns, for an error."""
    return "its columns: " + ", ".join(f"{column.name} ({str(column.type)[:40]})" for column in schema)


def _merged(whole: pa.Schema, other: pa.Schema) -> tuple[list[pa.Field], list[str]]:
    """The columns that hold both, and in words what stands against it."""
    columns, differences = [], [f"column {name!r} is only in it" for name in other.names if name not in whole.names]
    for column in whole:
        if column.name not in other.names:
            differences.append(f"it lacks column {column.name!r}")
            continue
        added = other.field(column.name)
        kind = _common(column.type, _without_views(added.type))
        if kind is None:
            differences.append(f"column {column.name!r} is {str(added.type)[:40]} against {str(column.type)[:40]}")
        else:
            columns.append(column.with_type(kind).with_nullable(column.nullable or added.nullable))
    return columns, differences


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The narrowest type that holds the values of both, None if there is none: text is not held by bytes."""
    if pa.types.is_dictionary(one) != pa.types.is_dictionary(other):
        one, other = plain_type(one), plain_type(other)
    if one.equals(other):
        return one
    try:
        schemas = [pa.schema([("", kind)]) for kind in (one, other)]
        common = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None
    return None if _is_bytes(common) and (_is_text(one) or _is_text(other)) else common


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values, for a column of categories."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _without_views(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_views(field.type)) for field in kind])
    return _VIEWS.get(str(kind), kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _label_names(told: Any) -> list[Any] | None:
    """Those that the description of a column gives."""
    return told.get("names") if isinstance(told, dict) and told.get("_type") == "ClassLabel" else None


def _shown(names: list[Any] | None) -> str:
    return f"the names {str(names)[:80]}" if names else "none"


def _refuse(differences: list[str], what: str) -> None:
    if differences:
        more = f" and {len(differences) - REPORTED} more" if len(differences) > REPORTED else ""
        raise ElixirError(f"{what}: {', '.join(differences[:REPORTED])}{more}; give files of one dataset")
