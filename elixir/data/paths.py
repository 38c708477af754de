"""File names in columns, and class names as folders: both ways without loss."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

_CONTAINER_AT_ACCOUNT = ("abfs", "abfss", "az", "adl")  # protocols where the name before the host is no secret
LONGEST = 255  # bytes in a file name, on every common file system


def escape(name: str) -> str:
    r"""A name or path from the file system (os.fsdecode'd) as valid UTF-8.

    A byte that is no UTF-8 is written `\xNN` and a backslash is doubled; every other name stays as it is.
    """
    name = name.replace("\\", "\\\\")
    return re.sub("[\udc80-\udcff]", lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", name)


def unescape(text: str) -> str:
    """The inverse of `escape`."""

    def original(match: re.Match[str]) -> str:
        return "\\" if match[0] == "\\\\" else chr(0xDC00 + int(match[0][2:], 16))

    return re.sub(r"\\\\|\\x[89a-f][0-9a-f]", original, text)


def recorded(place: str | Path) -> str:
    """What a record says of a place, so that it tells nothing of the machine: every record's paths go through here.

    A place below the current folder is relative to it, any other absolute one its last part alone; digests beside it
    tell what was there. What is no absolute path (a relative one, the name of a model or dataset) stays as it is, and
    so does text for people such as `Source.location`; a URL loses what may give access.
    """
    if "://" in str(place):
        return without_secrets(str(place))
    if scheme := re.match(r"[A-Za-z][\w+-]+:(?=/)", str(place), re.ASCII):
        return scheme[0] + recorded(str(place)[scheme.end() :])
    path = PurePosixPath(escape(str(place)) if isinstance(place, Path) else place)
    if not path.is_absolute():
        return str(place) if isinstance(place, str) else str(path)
    here = PurePosixPath(escape(str(Path.cwd())))
    below = path != here and len(here.parts) > 1 and path.is_relative_to(here)
    return str(path.relative_to(here)) if below else path.name or str(path)


def without_secrets(text: str) -> str:
    """A text with URLs in it, without what may give access: name and password before a host, and the query."""

    def public(match: re.Match[str]) -> str:
        protocol, host, rest = match.groups()
        if host and (":" in host or protocol.lower() not in _CONTAINER_AT_ACCOUNT):
            host = ""
        query = r"[?#].*" if protocol.lower().startswith("http") else r"\?[^/]*=.*"
        return f"{protocol}://{host or ''}{re.sub(query, '', rest, flags=re.DOTALL)}"

    return re.sub(r"([A-Za-z][A-Za-z0-9+.-]*)://([^\s/]*@)?([^\s'\"<>]*)", public, text)


def printable(text: str) -> str:
    """The text of strangers, with control characters spelled out."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def file_name(text: str) -> str:
    """Any text as the name of one file or folder, not hidden: "a%2Fb" for "a/b"; different texts, different names."""
    name = re.sub(r"%(?=[0-9A-F]{2})", "%25", text).replace("/", "%2F").replace("\0", "%00")
    name = re.sub(r"^\.", "%2E", name) or "%25"  # nothing else becomes this
    if len(os.fsencode(name)) > LONGEST:
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        suffix = PurePosixPath(name).suffix
        suffix = suffix if len(suffix) <= 6 else ""
        return shortened(name.removesuffix(suffix), f"~{digest}{suffix}")
    return name


def shortened(stem: str, suffix: str) -> str:
    """`stem + suffix`, with the stem's end cut off where the name would be too long for a file system."""
    room = LONGEST - len(os.fsencode(suffix))
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + suffix


def png_name(name: str) -> str:
    """A path with ".png" for its extension."""
    path = PurePosixPath(name)
    return str(path.with_name(shortened(path.stem, ".png")))


def folded(name: str) -> str:
    """What two names have in common if some file systems hold them for the same: case and Unicode form aside."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def name_key(name: str) -> int:
    """64 bits that are the same for names that are folded to the same text, and hardly ever for others."""
    return int.from_bytes(hashlib.blake2b(folded(name).encode("utf-8", "surrogateescape"), digest_size=8).digest())


class Names:
    """Paths in use in one folder, compared without regard to case; `folders` need not name parents of the files.

    Of the files `name_key` is kept: where two have the same by chance, a name counts as taken that is free.
    """

    def __init__(self, files: Iterable[str], folders: Iterable[str]) -> None:
        self._folders = set(map(folded, folders))
        self._files = np.sort(np.fromiter(map(self._enter, files), np.uint64))
        self._added: set[int] = set()

    def free(self, name: str) -> str:
        """Take the name, or one like it that is free."""
        if any(map(self._is_file, _parents(name))):
            name = PurePosixPath(name).name
        path, number = PurePosixPath(name), 0
        while self._is_file(name) or folded(name) in self._folders:
            number += 1
            name = str(path.with_name(shortened(path.stem, f"-{number}{path.suffix}")))
        self._added.add(self._enter(name))
        return name

    def _is_file(self, name: str) -> bool:
        key = name_key(name)
        place = int(np.searchsorted(self._files, np.uint64(key)))
        return key in self._added or (place < len(self._files) and int(self._files[place]) == key)

    def _enter(self, name: str) -> int:
        """The key of a file, whose parents are folders from now on."""
        self._folders.update(map(folded, _parents(name)))
        return name_key(name)


def _parents(name: str) -> list[str]:
    return [str(parent) for parent in PurePosixPath(name).parents][:-1]
