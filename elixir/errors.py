"""Errors that are meant to be read by people."""


class ElixirError(Exception):
    """What was wrong, in which file or setting, and what to do about it."""


class UnreadableSample(ElixirError):
    """One input sample that cannot be decoded; the run goes on without it.

    Args:
        reason: why, in a few words, without the sample's name.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
