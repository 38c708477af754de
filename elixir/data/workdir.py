"""Locks between processes that would write to one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from elixir.data.io import writing
from elixir.data.paths import escape
from elixir.errors import ElixirError


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock file; the system gives it up for a process that is killed.

    Args:
        path: of the lock file, which is made for the purpose and removed afterwards.
        wait: for another process that holds it.

    Raises:
        ElixirError: another process holds it and `wait` is off, or the file cannot be made.
    """
    lock = FileLock(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()  # a lock that cannot be made must not look like one that another process holds
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout as error:
            raise ElixirError(
                f"another run is at work here and holds {escape(str(path))}; wait for it, or stop it first"
            ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # who waits for it sees that and locks a new file (filelock from 3.30 on)
        lock.release()
