"""Which columns of a table hold the images and the labels: as named, by type, or by usual names."""

from typing import Any

import datasets
import pyarrow as pa

from elixir.data.tables.labels import holds_labels
from elixir.data.tables.schema import listed
from elixir.errors import ElixirError

IMAGE_NAMES = ("image", "img", "images", "picture", "photo", "pixel_values", "jpg", "png", "webp")
"""Columns that are taken for the images, first of all, where types leave several."""
LABEL_NAMES = ("label", "labels", "y", "target", "targets", "class", "fine_label", "category", "cls")
"""Columns that are taken for the labels, likewise."""


def image_column(schema: pa.Schema, known: dict[str, Any], given: str | None, location: str) -> str:
    """The column of encoded images. Raises: ElixirError: none is, or it cannot be told which."""
    stored = [column.name for column in schema if holds_bytes(column.type)]
    if given:
        if given not in stored:
            what = f"{location} has no column {given!r} with encoded images"
            raise ElixirError(f"{what}; {_no_images(schema, given)}{listed(schema)}")
        return given
    typed = [name for name in stored if isinstance(known.get(name), datasets.Image)]
    structs = [name for name in stored if pa.types.is_struct(schema.field(name).type)]
    for candidates in (typed, structs, stored):
        named = [name for name in IMAGE_NAMES if name in candidates]
        if len(candidates) == 1 or named:
            return named[0] if named else candidates[0]
    suspects = [name for name in IMAGE_NAMES if name in schema.names and name not in stored]
    remedy = _no_images(schema, suspects[0]) if suspects and not stored else ""
    what = f"cannot tell which column of {location} has the images; {remedy or 'name it with --image; '}"
    raise ElixirError(f"{what}{listed(schema)}")


def label_columns(schema: pa.Schema, known: dict[str, Any], given: str | None, location: str) -> list[str]:
    """The columns that may hold the labels, best first. Raises: ElixirError: there is none, or it cannot be told."""
    plain = [column.name for column in schema if holds_labels(column.type)]
    if given:
        if given not in plain:
            what = f"{location} has no column {given!r} of integers or strings"
            raise ElixirError(f"{what}; {_no_labels(schema, given)}{listed(schema)}")
        return [given]
    typed = [name for name in plain if isinstance(known.get(name), datasets.ClassLabel)]
    if len(typed) == 1:
        return typed
    if named := [name for name in LABEL_NAMES if name in (typed or plain)]:
        return named
    nested = [column.name for column in schema if pa.types.is_struct(column.type) and not holds_bytes(column.type)]
    suspects = [*(name for name in LABEL_NAMES if name in schema.names), *nested]
    remedy = _no_labels(schema, suspects[0]) if suspects else ""
    what = f"cannot tell which column of {location} has the labels; {remedy or 'name it with --label; '}"
    raise ElixirError(f"{what}{listed(schema)}; one label an image is read, an integer or a string")


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type can be one of encoded images."""
    if has_field(kind, "bytes"):
        return holds_bytes(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def has_field(kind: pa.DataType, field: str) -> bool:
    """Whether this is a type of structs with that field."""
    return pa.types.is_struct(kind) and kind.get_field_index(field) >= 0


def _no_images(schema: pa.Schema, name: str) -> str:
    """Why a column does not hold encoded images and what to do, for an error."""
    if name not in schema.names:
        return ""
    kind = schema.field(name).type
    if _is_list(kind):
        what = "lists of images" if holds_bytes(kind.value_type) else "lists of numbers or text"
        return f"column {name!r} holds {what}: store one image a row, as the bytes of an image file; "
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        load = f"Dataset.cast_column({name!r}, Image()) reads the files, and save_to_disk stores them"
        return f"column {name!r} holds text: of paths {load}; decode base64 to bytes; "
    return f"column {name!r} holds {str(kind)[:80]}: store the bytes of an image file in each row; "


def _no_labels(schema: pa.Schema, name: str) -> str:
    """Why a column does not hold labels and what to do, for an error."""
    if name not in schema.names:
        return ""
    kind = schema.field(name).type
    if _is_list(kind):
        remedy = "make a column of one integer or string a row, such as the place of the 1 of a one-hot label"
        return f"column {name!r} holds lists, {str(kind)[:80]}: {remedy}; "
    if pa.types.is_struct(kind):
        fields = [field.name for field in kind if holds_labels(field.type)]
        field = f"{name}.{fields[0]}" if fields else "the right one"
        return f"column {name!r} holds several fields: flatten it (Dataset.flatten) and give --label {field}; "
    if pa.types.is_null(kind):
        return f"column {name!r} is empty: name another with --label; "
    return f"column {name!r} holds {str(kind)[:80]}: write the labels as integers or strings; "


def _is_list(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def unseen_columns(schema: pa.Schema, image: str) -> list[str]:
    """Columns that may hold more images, which nobody looks at."""

    def inside(kind: pa.DataType) -> bool:
        if _is_list(kind):
            return inside(kind.value_type)
        fields = kind if pa.types.is_struct(kind) else ()
        return holds_bytes(kind) or any(inside(field.type) for field in fields)

    return [column.name for column in schema if column.name != image and inside(column.type)]
