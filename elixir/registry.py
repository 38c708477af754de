"""Plugins found by name: stages, purifiers and attacks, from entry points of packages or registered by a script."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Literal, TypeVar

from elixir.errors import ElixirError, explaining, nearest

Kind = Literal["stages", "purifiers", "attacks"]
T = TypeVar("T")

_registered: dict[tuple[Kind, str], Any] = {}


def register(kind: Kind, name: str) -> Callable[[T], T]:
    """Decorator that makes an object available as `name`; it takes precedence over entry points of `elixir.<kind>`."""

    def add(plugin: T) -> T:
        _registered[kind, name] = plugin
        return plugin

    return add


def names(kind: Kind) -> list[str]:
    """All names of one kind, sorted."""
    found = {name for registered_kind, name in _registered if registered_kind == kind}
    return sorted(found | {point.name for point in entry_points(group=f"elixir.{kind}")})


def find(kind: Kind, name: str) -> Any:
    """The plugin of that name; raises an ElixirError if there is none or its package cannot be imported."""
    if (kind, name) in _registered:
        return _registered[kind, name]
    for point in entry_points(group=f"elixir.{kind}", name=name):
        what = f"{kind[:-1]} {name!r} cannot be imported from {point.value}"
        with explaining((ImportError, AttributeError), what):
            return point.load()
    known = names(kind)
    hint = nearest(name, known, f"known: {', '.join(known)}")
    raise ElixirError(f"there is no {kind[:-1]} called {name!r}; {hint}")
