"""Work that may be interrupted: made beside its destination, gone on with only by the same settings, then renamed.

A `WorkDir` is the hidden folder in which the output of one command grows. Its life::

    work = WorkDir(dst)
    with work.alone():                       # one process at a time
        if resume and work.finished(settings):
            work.discard()                   # killed between the last two steps
        else:
            work.prepare(settings, resume)   # refuses what is at `dst`, or another run's work
            work.begin(settings)             # from here on an interruption leaves a run to go on with
            ...                              # files go to `work.path`, the output itself to `work.output`
            work.sign(settings)
            work.publish()                   # the output takes the name `dst`; the rest is removed

For results that are written in place, such as a log or a summary, `refuse_other_settings` compares the settings kept in
a file with those of now, and `result_folder` makes a folder without replacing files of others. `locked` is the lock.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from elixir.data.io import RUN_FOLDER, occupied, read_json, refuse_mount, replace_json, writing
from elixir.data.paths import escape, shortened
from elixir.errors import ElixirError

RECORD = "run.json"


class WorkDir:
    """The folder beside a destination in which its content is made.

    Args:
        dst: where the output is going to be, absolute.
        overwritable: whether the user can ask for what is there to be replaced; only changes what messages propose.

    Attributes:
        path: of the folder.
        output: in it, what becomes `dst`.
    """

    def __init__(self, dst: Path, overwritable: bool = False) -> None:
        self.dst = dst
        self.path = dst.with_name(shortened(f".{dst.name}", ".elixir-partial"))
        self.output = self.path / "output"
        self._record = self.path / RECORD
        self._shown = escape(str(dst))
        self._overwritable = overwritable
        anew = "add --overwrite without --resume" if overwritable else f"remove {escape(str(self.path))}"
        self._start_again = f"{anew} to start again"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes away from the destination for as long.

        Raises:
            ElixirError: another one is at work there, or nothing can be written beside it.
        """
        lock = self.dst.with_name(shortened(f".{self.dst.name}", ".elixir-lock"))
        try:
            self.dst.parent.mkdir(parents=True, exist_ok=True)
            lock.touch()
        except OSError as error:
            why = f"cannot write beside {self._shown}: {error.strerror}"
            raise ElixirError(f"{why}; choose a place that you may write to") from error
        with locked(lock):
            yield

    def finished(self, settings: Mapping[str, Any], but: Collection[str] = ()) -> bool:
        """Whether the destination holds the output of a run with these settings; see `sign`.

        Args:
            settings: plain values.
            but: names of settings that may differ.

        Raises:
            ElixirError: what the destination says of its settings is damaged.
        """
        record = self.dst / RUN_FOLDER / RECORD
        if not record.is_file():
            return False
        return not changed_settings(read_json(record, "give another folder with -o"), settings, but)

    def prepare(
        self, settings: Mapping[str, Any], resume: bool = False, overwrite: bool = False, but: Collection[str] = ()
    ) -> None:
        """Make sure that the work may begin. Without a run to go on with, the work folder is removed.

        Args:
            settings: plain values, all that decides the output.
            resume: go on with an interrupted run of the same settings.
            overwrite: what is at the destination may be replaced, and (without `resume`) an interrupted run removed.
            but: names of settings that may differ.

        Raises:
            ElixirError: the destination is in use or a mount point, or there is an interrupted run that is not to be
                gone on with or had other settings, which are named.
        """
        if occupied(self.dst) and not overwrite:
            or_else = " or add --overwrite to replace it" if self._overwritable else ""
            raise ElixirError(f"{self._shown} exists and is not empty; give another folder with -o{or_else}")
        refuse_mount(self.dst)
        if (overwrite and not resume) or not self._record.exists():
            self.discard()
        elif not resume:
            found = f"an interrupted run for {self._shown} was found; add --resume to go on with it"
            raise ElixirError(f"{found}, or {self._start_again}")
        else:
            other = f"the interrupted run for {self._shown} had other settings"
            known = read_json(self._record, self._start_again)
            refuse_other_settings(known, settings, other, f"repeat them with --resume, or {self._start_again}", but)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Make the folder and keep the settings in it.

        Raises:
            ElixirError: the disk is full or read-only.
        """
        with writing(self.path):
            self.path.mkdir(exist_ok=True)
        replace_json(self._record, settings)

    def sign(self, settings: Mapping[str, Any]) -> None:
        """Keep the settings in the output, by which `finished` knows it.

        Raises:
            ElixirError: the disk is full or read-only.
        """
        folder = self.output / RUN_FOLDER
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        replace_json(folder / RECORD, settings)

    def publish(self, overwrite: bool = False) -> None:
        """Give the output its name and remove the rest, with what was at the destination.

        Raises:
            ElixirError: without `overwrite`, something has come to be there; the disk is read-only.
        """
        if occupied(self.dst) and not overwrite:
            filled = f"{self._shown} has been filled while the run was at work"
            raise ElixirError(f"{filled}; move it away and add --resume, which only publishes")
        with writing(self.dst):
            if occupied(self.dst):
                os.replace(self.dst, self.path / "replaced")
            elif self.dst.exists():
                self.dst.rmdir()
            os.replace(self.output, self.dst)
        self.discard()

    def discard(self) -> None:
        """Remove the folder; its settings first, so that nobody goes on with what an interruption leaves of it.

        Raises:
            ElixirError: it cannot be removed.
        """
        with writing(self.path):
            if self.path.exists():
                self._record.unlink(missing_ok=True)
                shutil.rmtree(self.path)


def changed_settings(known: Mapping[str, Any], settings: Mapping[str, Any], but: Collection[str] = ()) -> list[str]:
    """Names of the settings that differ or that only one of the two has, sorted.

    Args:
        known: as read from a JSON file.
        settings: plain values; tuples count as lists.
        but: names that do not matter.
    """
    now = json.loads(json.dumps(settings))
    names = (known.keys() | now.keys()) - set(but)
    return sorted(name for name in names if name not in known or name not in now or known[name] != now[name])


def refuse_other_settings(
    known: Mapping[str, Any], settings: Mapping[str, Any], other: str, remedy: str, but: Collection[str] = ()
) -> None:
    """Make sure that what an earlier run has left is of these settings; see `changed_settings`.

    Args:
        known: settings of the earlier run.
        settings: of this one.
        other: what it means if they differ, such as "out/rows.jsonl was begun with other settings".
        remedy: what to do then.
        but: names of settings that may differ.

    Raises:
        ElixirError: they differ: "<other> (<names of the settings>); <remedy>".
    """
    if changed := changed_settings(known, settings, but):
        raise ElixirError(f"{other} ({', '.join(changed)}); {remedy}")


def result_folder(folder: Path, signs: Sequence[str], written: Sequence[str]) -> None:
    """Make `folder`, unless something of others would be replaced there.

    Args:
        folder: for the results.
        signs: files of which one is there when the results are ours.
        written: files that are going to be replaced.

    Raises:
        ElixirError: one of them is there, but no sign; or the folder cannot be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not any((folder / sign).exists() for sign in signs):
        for name in written:
            if (folder / name).exists():
                raise ElixirError(f"{escape(str(folder))} has a {name} of something else; give another folder with -o")


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
