"""Finding a class as people name it."""

from __future__ import annotations

from elixir.data.source import Source
from elixir.errors import ElixirError, nearest


def find_class(source: Source, target: str) -> int:
    """The label of a class, by its name or its number.

    Raises:
        ElixirError: there is no such class.
    """
    if target in source.classes:
        return source.classes.index(target)
    if target.isdecimal() and int(target) < len(source.classes):
        return int(target)
    hint = nearest(target, source.classes, f"it has {', '.join(source.classes[:20])}")
    raise ElixirError(f"{source.location} has no class {target!r} to be the target; {hint}")
