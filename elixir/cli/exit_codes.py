"""The exit codes of the command, and what `--fail-on` makes of a result."""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elixir.result import Result


class ExitCode(IntEnum):
    """What a shell is told."""

    DONE = 0
    FAILED = 1
    """Something is unusable; the message says what."""
    USAGE = 2
    """No such command or option, or not in this form (what click gives)."""
    FOUND = 3
    """All is done and written, and what `--fail-on` names was found."""
    INTERRUPTED = 130


class FailOn(StrEnum):
    """What may be found."""

    ATTACK = "attack"
    CHANGE = "change"
    PATTERN = "pattern"
    NOT_JUDGED = "not-judged"


def found(result: Result, fail_on: Collection[FailOn]) -> list[FailOn]:
    """Which of these a result shows.

    "attack": a label is under attack. "change": a sample is not kept as it was, or a file could not be read; after a
    scan: would be changed. "pattern": part of a label not under attack shares a pattern. "not-judged": a label, or the
    whole set, was not judged.
    """
    holds = {
        FailOn.ATTACK: bool(result.attacked),
        FailOn.CHANGE: bool(result.counts.keys() - {"kept"} or result.unreadable_files),
        FailOn.PATTERN: bool(result.patterns),
        FailOn.NOT_JUDGED: bool(result.not_judged or not result.labels),
    }
    return [each for each in FailOn if each in fail_on and holds[each]]
