"""Errors that are meant to be read by people."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class ElixirError(Exception):
    """What was wrong, in which file or setting, and what to do about it."""


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
