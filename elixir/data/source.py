"""What a labelled image dataset looks like to everything that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from elixir.errors import ElixirError, nearest

Kind = Literal["folder", "hf", "parquet"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image, without its bytes. All text is valid UTF-8 (see `elixir.data.paths`).

    Attributes:
        id: stable; in a folder the path relative to its root, in a table "<split or file stem>/<8-digit row>".
        label: index into the source's classes, -1 for none.
        name: file name including sub-folders under the class; without an extension where a table has no file name.
        problem: what is wrong with it, where that is known without reading it.
    """

    id: str
    label: int
    name: str
    problem: str | None = None


class Source(Protocol):
    """A labelled image dataset that is read one sample at a time; fastest in ascending order."""

    @property
    def kind(self) -> Kind:
        """Which kind of output keeps everything there is in it."""
        ...

    @property
    def location(self) -> str:
        """Where it is, for people."""
        ...

    @property
    def classes(self) -> list[str]:
        """Names of the labels; a class may have no samples."""
        ...

    @property
    def samples(self) -> Sequence[Sample]:
        """All samples, in the same order in every run."""
        ...

    def read(self, index: int) -> bytes:
        """The encoded image exactly as it is stored.

        Raises:
            UnreadableSample: it cannot be read, with the reason.
        """
        ...

    def fingerprint(self) -> str:
        """Hexadecimal digest that changes with the input, from names, sizes and times rather than contents."""
        ...


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
