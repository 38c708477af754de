"""Copies of data that lies elsewhere, in remote storage or an archive: folders of a cache, kept up to date by file."""

import hashlib
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fsspec import Callback

from elixir.data.io import real_path, writing
from elixir.data.paths import LONGEST, escape, folded, printable
from elixir.data.workdir import locked
from elixir.errors import ElixirError
from elixir.progress import Progress

CACHE = "ELIXIR_CACHE"  # environment variable with the folder of the cache
BATCH = 1024  # files that are handed out to be fetched together
READABLE = 80  # characters of its name that the folder of a copy has
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A file to be copied. A copy of this size with this modification time is one of it; None where that is not known.

    Attributes:
        key: what it is called where it lies.
        size: in bytes.
        stamp: in nanoseconds; stands for all that tells whether the file has changed.
    """

    key: str
    size: int | None
    stamp: int | None


@dataclass(frozen=True)
class Copy:
    """Where a copy lies.

    Attributes:
        root: the folder that was filled, and `origin` what it is a copy of, for people.
        path: file, folder or pattern in it that was asked for, and `location` what it is a copy of, for people.
        note: a sentence for people.
    """

    root: Path
    origin: str
    path: Path
    location: str
    note: str

    def told(self, text: str) -> str:
        """A text with the places of the copy replaced by those of the data."""
        return text.replace(escape(str(self.path)), self.location).replace(escape(str(self.root)), self.origin)


def modification_time(seconds: float, identity: object) -> int:
    """The `stamp` of a file: the second in which it was changed, and microseconds by its identity (a digest, say)."""
    digest = hashlib.sha256(repr(identity).encode("utf-8", "surrogateescape")).hexdigest()
    return (int(seconds) * 10**6 + int(digest, 16) % 10**6) * 1000


def cache() -> Path:
    """The folder of all copies."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return real_path(os.environ.get(CACHE) or f"{base}/elixir")


def home_of(name: str, key: str) -> Path:
    """The folder for the copy of what has this name for people and this key alone."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    plain = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)
    return cache() / f"{plain[-READABLE:].lstrip('.')}-{digest}"


def told_place(path: Path) -> str:
    """A place in the cache for people: what it tells of the machine is what they have chosen themselves."""
    home = Path.home()
    return escape(f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path))


def mirror(
    home: Path,
    entries: Mapping[str, Entry],
    folders: Collection[str],
    fetch: Callable[[str, Path, Callback], object],
    location: str,
    quiet: bool,
    parallel: int = 1,
) -> Path:
    """Make `home`/data a copy of some files, by path, and folders; what it has of them already is not fetched again.

    Args:
        fetch: writes what has a key to a file, and tells the callback how many bytes it has written.
        location: where they come from, for people.
        quiet: show no progress.
        parallel: how many files are fetched at the same time.

    Raises: ElixirError: a path leads out of the folder, two are the same on some file systems, or the disk is full.
    """
    refuse_hostile(entries, folders, location)
    root, partial = home / "data", home / "partial"
    with locked(home.with_name(f"{home.name}.lock"), wait=True):
        with writing(home):
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            root.mkdir(exist_ok=True)
            _remove_others(root, entries, folders)
            for folder in {*folders, *(name.rpartition("/")[0] for name in entries)}:
                (root / folder).mkdir(parents=True, exist_ok=True)
            partial.mkdir(exist_ok=True)
            missing = [(entry, root / name) for name, entry in entries.items() if not _is_there(root / name, entry)]
            _refuse_small_disk(home, sum(entry.size or 0 for entry, _ in missing))
        _fetch_all(missing, fetch, partial, location, quiet, parallel)
        shutil.rmtree(partial, ignore_errors=True)
    return root


def refuse_hostile(files: Iterable[str], folders: Iterable[str], location: str) -> None:
    """Raise an ElixirError for paths that lead out of a folder, or that not all file systems can hold side by side."""
    taken: dict[str, str] = {}
    for name, is_file in (*((name, True) for name in files), *((name, False) for name in folders)):
        parts = name.split("/")
        if any(part in ("", ".", "..") or "\0" in part or not _fits(part) for part in parts):
            what = f"{location} has {printable(name)[:200]!r} in it, which is no path for a file"
            raise ElixirError(f"{what} in a folder; rename or remove it there")
        for depth in range(len(parts), 0, -1):
            path = "/".join(parts[:depth])
            what = path if is_file and depth == len(parts) else f"{path}/"
            known = taken.setdefault(folded(path), what)
            if known != what:
                both = f"{printable(known)[:200]!r} and {printable(what)[:200]!r}"
                remedy = "which are one and the same on some file systems; rename or remove one there"
                raise ElixirError(f"{location} has {both} in it, {remedy}")


def _fits(part: str) -> bool:
    with suppress(UnicodeEncodeError):
        return len(os.fsencode(part)) <= LONGEST
    return False


def _remove_others(root: Path, files: Collection[str], folders: Iterable[str]) -> None:
    """Remove what is there and should not be, also a file in place of a folder, and the other way round."""
    wanted = {""}
    for path in (*(name.rpartition("/")[0] for name in files), *folders):
        while path not in wanted:
            wanted.add(path)
            path = path.rpartition("/")[0]
    for place, below, names in os.walk(root, topdown=False):
        for name in (*names, *below):
            path = Path(place, name)
            relative = path.relative_to(root).as_posix()
            if path.is_symlink() or not path.is_dir():
                if relative not in files:
                    path.unlink()
            elif relative not in wanted:
                path.rmdir()


def _is_there(path: Path, entry: Entry) -> bool:
    with suppress(FileNotFoundError):
        state = path.lstat()
        return stat.S_ISREG(state.st_mode) and (state.st_size, state.st_mtime_ns) == (entry.size, entry.stamp)
    return False


def _refuse_small_disk(home: Path, needed: int) -> None:
    free = shutil.disk_usage(home).free
    if needed > free:
        what = f"{needed / 1e9:.1f} GB are to be copied to {told_place(home)}, where {free / 1e9:.1f} GB are free"
        raise ElixirError(f"{what}; let the environment variable {CACHE} name a folder with more space")


class Stopped(Exception):
    """Ends a download, as another has failed or the user wants no more."""


class _Watch(Callback):
    """Tells of the bytes that arrive, and stops a download by raising `Stopped` once it is to be stopped."""

    def __init__(self, advance: Callable[[float], None], stop: threading.Event) -> None:
        super().__init__()
        self._advance = advance
        self._stop = stop

    def relative_update(self, inc: int = 1) -> None:
        if self._stop.is_set():
            raise Stopped
        self._advance(inc / MEGABYTE)


def _fetch_all(
    missing: list[tuple[Entry, Path]],
    fetch: Callable[[str, Path, Callback], object],
    partial: Path,
    location: str,
    quiet: bool,
    parallel: int,
) -> None:
    stop = threading.Event()
    megabytes = sum(entry.size or 0 for entry, _ in missing) / MEGABYTE
    with Progress(quiet or not missing).task("copy MB", megabytes) as advance, ThreadPoolExecutor(parallel) as pool:

        def copy(entry: Entry, path: Path) -> None:
            if stop.is_set():
                return
            try:
                incoming = partial / str(threading.get_ident())
                fetch(entry.key, incoming, _Watch(advance, stop))
                _accept(incoming, path, entry, location)
            except Stopped:
                return
            except BaseException:
                stop.set()
                raise

        try:
            for start in range(0, len(missing), BATCH):
                for done in as_completed([pool.submit(copy, *job) for job in missing[start : start + BATCH]]):
                    done.result()
        except BaseException:
            stop.set()
            raise


def _accept(incoming: Path, path: Path, entry: Entry, location: str) -> None:
    """Give a file that was fetched its time and name."""
    size = incoming.stat().st_size
    if entry.size not in (None, size):
        what = f"{size:,} of {entry.size:,} bytes of {printable(entry.key)} in {location} have arrived"
        raise ElixirError(f"{what}; run the same command again, which goes on from here")
    with writing(path):
        stamp = modification_time(0, _digest(incoming)) if entry.stamp is None else entry.stamp
        os.utime(incoming, ns=(stamp, stamp))
        incoming.replace(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
