"""Work that may be interrupted: made beside its destination, gone on with only by the same settings, then renamed."""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from elixir.data.io import RUN_FOLDER, let_move, occupied, read_json, remove_folder, replace_json, writing
from elixir.data.paths import escape, shortened
from elixir.errors import ElixirError

RECORD = "run.json"


class WorkDir:
    """The hidden folder `path` beside an absolute destination; in it grows `output`, which becomes the destination.

    What that replaces is `replaced` for a moment, and comes back if the work is interrupted right then.

    Within `alone`: `discard` what is left if the output is `finished` (a run was killed within the last step); else
    `prepare`, `begin` (from here on an interruption leaves a run to go on with), make the output, `sign`, `publish`.
    `overwritable`: whether messages propose to replace what is there.
    """

    def __init__(self, dst: Path, overwritable: bool = False) -> None:
        self.dst = dst
        self.path = dst.with_name(shortened(f".{dst.name}", ".elixir-partial"))
        self.output = self.path / "output"
        self._replaced = self.path / "replaced"
        self._record = self.path / RECORD
        self._shown = escape(str(dst))
        self._overwritable = overwritable
        anew = "add --overwrite without --resume" if overwritable else f"remove {escape(str(self.path))}"
        self._start_again = f"{anew} to start again"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes away; an ElixirError if one is at work, or nothing can be written beside `dst`."""
        lock = self.dst.with_name(shortened(f".{self.dst.name}", ".elixir-lock"))
        try:
            self.dst.parent.mkdir(parents=True, exist_ok=True)
            lock.touch()
        except OSError as error:
            why = f"cannot write beside {self._shown}: {error.strerror}"
            raise ElixirError(f"{why}; choose a place that you may write to") from error
        with locked(lock):
            self._put_back()
            yield

    def finished(self, settings: Mapping[str, Any], but: Collection[str] = ()) -> bool:
        """Whether the destination holds the output of a run with these settings (see `sign`), `but` some names."""
        record, remedy = self.dst / RUN_FOLDER / RECORD, "give another folder with -o"
        return record.is_file() and not changed_settings(read_json(record, remedy), settings, but)

    def prepare(
        self, settings: Mapping[str, Any], resume: bool = False, overwrite: bool = False, but: Collection[str] = ()
    ) -> None:
        """Make sure that the work may begin. Without a run to go on with, the work folder is removed.

        Args:
            settings: plain values, all that decides the output.
            resume: go on with an interrupted run of the same settings, `but` those of some names.
            overwrite: what is at the destination may be replaced, and (without `resume`) an interrupted run removed.

        Raises: ElixirError: the destination is in use or a mount point, or there is an interrupted run that is not to
            be gone on with or had other settings, which are named.
        """
        if occupied(self.dst) and not overwrite:
            or_else = " or add --overwrite to replace it" if self._overwritable else ""
            raise ElixirError(f"{self._shown} exists and is not empty; give another folder with -o{or_else}")
        if os.path.ismount(self.dst):
            raise ElixirError(f"{self._shown} is a mount point, which cannot be replaced; give a folder inside it")
        if (overwrite and not resume) or not self._record.exists():
            self.discard()
        elif not resume:
            found = f"an interrupted run for {self._shown} was found; add --resume to go on with it"
            raise ElixirError(f"{found}, or {self._start_again}")
        else:
            other = f"the interrupted run for {self._shown} had other settings"
            known = read_json(self._record, self._start_again)
            refuse_other_settings(known, settings, other, f"repeat them with --resume, or {self._start_again}", but)

    def refuse_interrupted(self) -> None:
        """Raise an ElixirError if there is an interrupted run to go on with."""
        if self._record.exists():
            found = f"an interrupted run for {self._shown} was found"
            raise ElixirError(f"{found}; repeat its command with --resume, or remove {escape(str(self.path))}")

    @contextmanager
    def trial(self) -> Iterator[Path]:
        """A place for a folder on the file system of the destination, to find out whether an output can be made."""
        place = self.path / "trial"
        with writing(place):
            self.path.mkdir(exist_ok=True)
            if place.exists():
                remove_folder(place)
        try:
            yield place
        finally:
            with writing(place):
                if place.exists():
                    remove_folder(place)
                if not self._record.exists():
                    self.path.rmdir()

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Make the folder and keep the settings in it."""
        _keep_settings(self.path, settings)

    def sign(self, settings: Mapping[str, Any]) -> None:
        """Keep the settings in the output, by which `finished` knows it."""
        _keep_settings(self.output / RUN_FOLDER, settings)

    def publish(self, overwrite: bool = False) -> None:
        """Give the output its name and remove the rest; without `overwrite` an ElixirError for what is there by now."""
        if occupied(self.dst) and not overwrite:
            filled = f"{self._shown} has been filled while the run was at work"
            raise ElixirError(f"{filled}; move it away and add --resume, which only publishes")
        with writing(self.dst):
            if occupied(self.dst):
                let_move(self.dst)
                os.replace(self.dst, self._replaced)
            elif self.dst.exists():
                self.dst.rmdir()
            os.replace(self.output, self.dst)
        self.discard()

    def discard(self) -> None:
        """Remove the folder; its settings first, so that nobody goes on with what an interruption leaves of it."""
        with writing(self.path):
            self._put_back()
            if self.path.exists():
                self._record.unlink(missing_ok=True)
                remove_folder(self.path)

    def _put_back(self) -> None:
        """Give what was at the destination its name again, if `publish` was interrupted when nothing was there."""
        if self._replaced.exists() and not self.dst.exists():
            os.replace(self._replaced, self.dst)


def _keep_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    replace_json(folder / RECORD, settings)


def changed_settings(known: Mapping[str, Any], settings: Mapping[str, Any], but: Collection[str] = ()) -> list[str]:
    """Names of the settings, `but` some, that differ from those known from a JSON file or that only one has, sorted."""
    now = json.loads(json.dumps(settings))
    names = (known.keys() | now.keys()) - set(but)
    return sorted(name for name in names if name not in known or name not in now or known[name] != now[name])


def refuse_other_settings(
    known: Mapping[str, Any], settings: Mapping[str, Any], other: str, remedy: str, but: Collection[str] = ()
) -> None:
    """Make sure that what an earlier run has left is of these settings; see `changed_settings`.

    If not, the ElixirError is "<other> (<names of the settings>); <remedy>", with "out/rows.jsonl was begun with other
    settings", say, as `other`.
    """
    if changed := changed_settings(known, settings, but):
        raise ElixirError(f"{other} ({', '.join(changed)}); {remedy}")


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock file, which a killed process gives up; an ElixirError if another process has it and `wait` is off."""
    lock = FileLock(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()  # a lock that cannot be made must not look like one that another process holds
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout as error:
            where = f"here and holds {escape(str(path))}"
            raise ElixirError(f"another run is at work {where}; wait for it, or stop it first") from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # who waits for it sees that and locks a new file (filelock from 3.30 on)
        lock.release()
