"""Zip archives, as a local copy of what is in them."""

import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from fsspec import Callback

from elixir.data.files.folder import LARGEST_FILE
from elixir.data.io import writing
from elixir.data.paths import printable, recorded
from elixir.data.remote.mirror import Copy, Entry, home_of, mirror, modification_time, told_place
from elixir.errors import ElixirError

LARGEST_RATIO = 200
"""Bytes that an archive may unpack to for each of its own, where all are more than `LARGEST_FILE`."""
BLOCK = 1 << 20  # bytes that are unpacked at once

_ENCRYPTED = 1  # bit among a member's flags
_WINDOWS, _UNIX = 0, 3  # on which a member was packed


def unpack(archive: Path, location: str, inner: str, quiet: bool) -> Copy:
    """Unpack a zip archive to the cache; what is there already, by size, date and CRC, is not unpacked again.

    Args:
        location: where the archive is, for people.
        inner: path of the file or folder in it that is meant, "" for all.

    Raises: ElixirError: the archive is damaged, encrypted or a bomb, or has members that are no plain files, that lead
        out of the folder or that are there twice.
    """
    with _opened(archive, location) as opened:
        members: dict[str, zipfile.ZipInfo] = {}
        folders = []
        for member in opened.infolist():
            name = _checked_name(member, location)
            if name.endswith("/"):
                folders.append(name.rstrip("/"))
            elif members.setdefault(name, member) is not member:
                raise ElixirError(f"{location} has {printable(name)[:200]!r} in it twice; pack it again")
        size = sum(member.file_size for member in members.values())
        if size > max(LARGEST_FILE, LARGEST_RATIO * archive.stat().st_size):
            what = f"{location} would unpack to {size / 1e9:,.1f} GB, {size // archive.stat().st_size} times its size"
            raise ElixirError(f"{what}, as no pictures do; if it is meant so, unpack it and give the folder")

        def extract(key: str, target: Path, watch: Callback) -> None:
            what = f"{printable(key)} in {location}"
            with writing(target), target.open("wb") as out, _explained(what), opened.open(members[key]) as packed:
                while block := packed.read(BLOCK):
                    out.write(block)
                    watch.relative_update(len(block))

        entries = {name: Entry(name, member.file_size, _stamp(member)) for name, member in members.items()}
        root = mirror(home_of(archive.name, str(archive.resolve())), entries, folders, extract, location, quiet)
    inside = f"{location}/{inner}" if inner else location
    return Copy(root, location, root / inner, inside, f"{recorded(location)} was unpacked to {told_place(root)}")


@contextmanager
def _opened(archive: Path, location: str) -> Iterator[zipfile.ZipFile]:
    with _explained(location):
        try:
            opened = zipfile.ZipFile(archive, metadata_encoding="utf-8")  # as macOS and others write names
        except UnicodeDecodeError:
            opened = zipfile.ZipFile(archive)
    with opened:
        yield opened


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise ElixirError(f"{what} is damaged or no zip archive ({error}); fetch or pack it again") from error
    except (NotImplementedError, RuntimeError) as error:
        how = f"{what} is packed in a way that cannot be read ({error})"
        raise ElixirError(f"{how}; unpack it and give the folder") from error


def _checked_name(member: zipfile.ZipInfo, location: str) -> str:
    """Path of a member; the mirror refuses one that leads elsewhere."""
    name = member.orig_filename  # that is, with what follows a NUL
    if member.create_system == _WINDOWS:
        name = name.replace("\\", "/")
    name = name.removeprefix("./")
    if member.flag_bits & _ENCRYPTED:
        raise ElixirError(f"{location} is encrypted ({printable(name)[:200]}); unpack it and give the folder")
    kind = stat.S_IFMT(member.external_attr >> 16) if member.create_system == _UNIX else 0
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = f"{location} has a link or another special file in it, {printable(name)[:200]}"
        raise ElixirError(f"{what}; unpack it, put what it points at in its place, and give the folder")
    return name


def _stamp(member: zipfile.ZipInfo) -> int:
    try:
        seconds = datetime(*member.date_time, tzinfo=UTC).timestamp()
    except ValueError:  # dates of month 0 are common
        seconds = 0
    return modification_time(seconds, member.CRC)
