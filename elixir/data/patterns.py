"""Patterns that stand for several files."""

import glob
import re
from collections.abc import Iterator
from pathlib import Path

from elixir.errors import ElixirError

_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{},]*(?:,[^{},]*)+))\}")


def is_pattern(text: str) -> bool:
    """Whether there are wildcards or braces in a path."""
    return glob.has_magic(text) or next(expand_braces(text), None) != text


def matching(pattern: str, suffixes: tuple[str, ...]) -> list[Path]:
    """The files with one of these suffixes, in lower case, that a pattern stands for, sorted.

    Raises: ElixirError: there is none for one of the parts that the braces in it stand for.
    """
    files: set[Path] = set()
    for part in expand_braces(pattern):
        names = glob.glob(part, recursive=True) if glob.has_magic(part) else [part]  # noqa: PTH207 - may be absolute
        found = {path for path in map(Path, names) if path.name.lower().endswith(suffixes) and path.is_file()}
        files |= found
        if not found:
            raise ElixirError(f"no file that ends with {' or '.join(suffixes[:2])} matches {part}; check the pattern")
    if not files:
        raise ElixirError(f"{pattern} stands for nothing; check the range in it")
    return sorted(files)


def expand_braces(pattern: str) -> Iterator[str]:
    """All that a pattern stands for, as in "train-{000..012}.tar" and "{train,val}-*.tar"; itself without braces."""
    match = _BRACES.search(pattern)
    if not match:
        yield pattern
        return
    first, last, listed = match.groups()
    width = max(len(first), len(last)) if first and (first + last).startswith("0") else 0
    numbers = (f"{number:0{width}d}" for number in range(int(first), int(last) + 1)) if first else ()
    for middle in listed.split(",") if listed else numbers:
        yield from expand_braces(pattern[: match.start()] + middle + pattern[match.end() :])
