"""Errors that are meant to be read by people."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class ElixirError(Exception):
    """What was wrong, in which file or setting, and what to do about it."""

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process the error of the system behind it, if there is one, is still its cause."""
        return _caused_by, (type(self), self.args, system_error(self))


def system_error(error: BaseException | None) -> OSError | None:
    """The first error among this one and its causes that came from the system, such as a disk that is full."""
    while error and not isinstance(error, OSError):
        error = error.__cause__
    return error


def _caused_by(kind: type[ElixirError], args: tuple[Any, ...], cause: OSError | None) -> ElixirError:
    error = kind(*args)
    error.__cause__ = cause
    return error


class UnreadableSample(ElixirError):
    """One input sample that cannot be decoded, for a `reason` in a few words; the run goes on without it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def nearest(word: str, known: Iterable[str], otherwise: str) -> str:
    """The hint behind an unknown name: the one of `known` that was probably meant, or else `otherwise`."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise


@contextmanager
def explaining(kinds: type[Exception] | tuple[type[Exception], ...], what: str, remedy: str = "") -> Iterator[None]:
    """Turn errors of these kinds into an ElixirError: "<what>: <the error>; <remedy>"; those that are one pass."""
    try:
        yield
    except ElixirError:
        raise
    except kinds as error:
        raise ElixirError(f"{what}: {error}" + (f"; {remedy}" if remedy else "")) from error
