"""Settings of stages and parameters of attacks: their types and ranges, checked wherever one is set."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from elixir.errors import ElixirError, nearest


@dataclass(frozen=True)
class Range:
    """The values that a number, or every number of a list, may have.

    Args:
        least: smallest value.
        most: largest value.
        above: what it must exceed.
        below: what it must stay below.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        limits = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return " and ".join(f"{word} {limit:g}" for word, limit in limits.items() if limit is not None)


Count = Annotated[int, Range(least=1)]
Steps = Annotated[int, Range(least=0)]
Share = Annotated[float, Range(above=0, below=1)]
Positive = Annotated[float, Range(above=0)]


class Settings:
    """A dataclass whose fields are settings, each checked wherever it is set; subclasses have a `name` for messages.

    A field gets its range from an annotation such as `Count`. What else an object keeps begins with an underscore.
    """

    name: ClassVar[str]
    what: ClassVar[str] = ""
    """What the object is, for messages."""

    def __setattr__(self, key: str, value: object) -> None:
        super().__setattr__(key, value if key.startswith("_") else checked(type(self), key, value, self.what))

    def check(self) -> None:
        """Raise `ElixirError` when settings do not go together."""


S = TypeVar("S", bound=Settings)


def build(kind: type[S], values: Mapping[str, object]) -> S:
    """Make an object from the settings of a recipe.

    Raises: ElixirError: unknown key, a value of the wrong type or out of range, or values that do not go together.
    """
    for key, value in values.items():
        checked(kind, key, value, kind.what)
    made = kind(**values)
    made.check()
    return made


@cache
def kinds(owner: type) -> dict[str, Any]:
    """The settings of a dataclass, in order: name -> annotation."""
    hints = get_type_hints(owner, include_extras=True)
    return {field.name: hints[field.name] for field in fields(owner) if field.init}


def checked(owner: type, key: str, value: object, what: str) -> object:
    """The value as the owner keeps it: a whole number where a fraction is expected becomes one, a list a tuple.

    Args:
        owner: a dataclass with a `name`.
        key: of the setting.
        value: from a recipe, the command line or a program.
        what: the owner is, for the message.

    Raises: ElixirError: there is no such setting, or the value is of the wrong type or out of range.
    """
    known, name = kinds(owner), getattr(owner, "name", owner.__name__)
    if key not in known:
        hint = nearest(key, known, f"its settings: {', '.join(known) or 'none'}")
        owned = f"{what} {name!r}" if what else name
        raise ElixirError(f"{owned} has no setting {key!r}; {hint}")
    kind, limits = known[key], []
    if get_origin(kind) is Annotated:
        kind, *limits = get_args(kind)
    given = value
    try:
        value = _as(kind, value)
    except TypeError as error:
        raise ElixirError(f"setting {name}.{key} = {value!r} is of the wrong type; expected {error}") from error
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise ElixirError(f"setting {name}.{key} = {value!r} is none of {', '.join(map(str, get_args(kind)))}")
    for limit in limits:
        numbers: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
        if isinstance(limit, Range) and not all(number in limit for number in numbers):
            raise ElixirError(f"setting {name}.{key} = {given!r} is out of range; it must be {limit}")
    return value


def explained(owner: type) -> dict[str, str]:
    """What the docstrings of a dataclass and its bases say about each setting, with its range: name -> a line."""
    known, said, current = kinds(owner), {}, ""
    for kind in reversed(owner.__mro__):
        _, _, arguments = inspect.cleandoc(kind.__doc__ or "").partition("\nArgs:\n")
        for line in arguments.splitlines():
            key, colon, rest = line.strip().partition(": ")
            if colon and key in known:
                current, said[key] = key, []
            said.setdefault(current, []).append(rest if current == key else line.strip())
    return {key: " ".join([*said.get(key, []), *_allowed(kind)]) for key, kind in known.items()}


def _allowed(kind: Any) -> list[str]:
    values = get_args(kind)
    if get_origin(kind) is Literal:
        return [f"({' or '.join(map(str, values))})"]
    return [f"({value})" for value in values if isinstance(value, Range)]


def _as(kind: Any, value: object) -> object:
    """The value as that type; a `TypeError` says what was expected."""
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError("a list")
        return tuple(_as(get_args(kind)[0], item) for item in value)
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    accepted = tuple(member for member in members if isinstance(member, type))
    if float in accepted and int not in accepted and type(value) is int:
        return float(value)
    if accepted and not (isinstance(value, accepted) and (type(value) is not bool or bool in accepted)):
        raise TypeError(getattr(kind, "__name__", str(kind)))
    return value
