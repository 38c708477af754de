"""Tar archives by the places of their members: looked at without extraction, changed without touching the rest."""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from elixir.data.paths import escape, printable
from elixir.errors import ElixirError, explaining

TAR = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
END = bytes(2 * tarfile.BLOCKSIZE)  # marks the end of an archive
CHUNK = 1 << 20  # bytes that are copied at once

_SIGNATURES = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
}
_SIZE, _CHECKSUM = slice(124, 136), slice(148, 156)  # fields of a header
_REMEDY = "copy the archive again, or write it anew"


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: name as the archive says, its first header block, its bytes and their number."""

    name: str
    start: int
    data: int
    size: int

    @property
    def end(self) -> int:
        """Where its last block ends."""
        return self.data + self.size + _padding(self.size)


def members(file: Path) -> Iterator[Member]:
    """The regular files in an archive, in order; folders are passed over.

    Raises: ElixirError: the archive is damaged, cut off or compressed, or has a member that is a link, a device, sparse
    or has a path that leads out of a folder.
    """
    shown = escape(str(file))
    errors = (tarfile.TarError, OSError, ValueError, LookupError, ArithmeticError, RecursionError)
    with explaining(errors, f"{shown} cannot be read as a tar archive", _REMEDY), file.open("rb") as opened:
        _refuse_compressed(file, opened.read(8))
        opened.seek(0)
        end, size = 0, os.fstat(opened.fileno()).st_size
        with tarfile.open(fileobj=opened, mode="r:") as archive:
            while info := archive.next():
                archive.members.clear()  # type: ignore[attr-defined]  # they would fill the memory
                _refuse_unsafe(shown, info)
                member = Member(info.name, info.offset, info.offset_data, 0 if info.isdir() else info.size)
                if member.start < end or member.size < 0:
                    raise ElixirError(f"{shown} is damaged at its member {printable(info.name)!r}; {_REMEDY}")
                end = member.end
                if end > size:
                    raise ElixirError(f"{shown} is cut off in its member {printable(info.name)!r}; {_REMEDY}")
                if info.isreg():
                    yield member
        _check_rest(shown, opened, end)


def is_compressed(file: Path) -> bool:
    """Whether a file's name is one of a compressed archive."""
    return file.name.lower().endswith(COMPRESSED)


def refuse_compressed_name(file: Path) -> None:
    """Raise an ElixirError for a file whose name is one of a compressed archive."""
    if is_compressed(file):
        ending = file.name.lower().rpartition(".")[2]
        tool = {"zst": "unzstd", "bz2": "bunzip2", "tbz2": "bunzip2", "xz": "unxz", "txz": "unxz"}.get(ending, "gunzip")
        _refuse(file, tool)


def replaced(header: bytes, data: bytes) -> bytes:
    """The blocks of a member with other data: those of its header, in which only the size and checksum change."""
    last = bytearray(header[-tarfile.BLOCKSIZE :])
    last[_SIZE] = b"%011o\0" % len(data)
    last[_CHECKSUM] = b" " * 8
    last[_CHECKSUM] = b"%06o\0 " % sum(last)
    return header[: -tarfile.BLOCKSIZE] + last + data + bytes(_padding(len(data)))


def copy_bytes(source: BinaryIO, target: BinaryIO, count: int) -> None:
    """Copy so many bytes from where both files are. Raises: ElixirError: there are fewer."""
    while count:
        piece = source.read(min(count, CHUNK))
        if not piece:
            raise ElixirError(f"{escape(str(source.name))} ends {count:,} bytes too early: it was changed or cut off")
        target.write(piece)
        count -= len(piece)


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE


def _refuse_compressed(file: Path, start: bytes) -> None:
    for signature, tool in _SIGNATURES.items():
        if start.startswith(signature):
            _refuse(file, tool)


def _refuse(file: Path, tool: str) -> None:
    shown = escape(str(file))
    raise ElixirError(f"{shown} is compressed, and images in it can only be read in order; run `{tool} -k` on it first")


def _refuse_unsafe(shown: str, info: tarfile.TarInfo) -> None:
    if info.issym() or info.islnk():
        what = "a link"
    elif not info.isreg() and not info.isdir():
        what = "neither a file nor a folder"
    elif info.issparse():
        what = "stored sparsely"
    elif info.name.startswith("/") or ".." in info.name.split("/"):
        what = "a path that leads out of the folder it is unpacked to"
    elif "size" in info.pax_headers and info.size < 1 << 33:  # what fits into the plain header, which is changed here
        what = "of a size that only a PAX header tells"
    else:
        return
    remedy = "write the archive anew with plain files in it"
    raise ElixirError(f"{shown} has the member {printable(info.name)!r}, which is {what}; {remedy}")


def _check_rest(shown: str, opened: BinaryIO, end: int) -> None:
    """That an end mark follows the last member, and nothing else: readers would stop there without a word."""
    opened.seek(end)
    rest = opened.read(tarfile.BLOCKSIZE)
    if len(rest) < tarfile.BLOCKSIZE:
        raise ElixirError(f"{shown} has no end mark, so members may have been cut off; {_REMEDY}")
    while rest:
        if rest.strip(b"\0"):
            what = "a damaged member, or another archive put behind it"
            raise ElixirError(f"{shown} goes on behind its last readable member (at byte {end:,}): {what}; {_REMEDY}")
        rest = opened.read(CHUNK)
