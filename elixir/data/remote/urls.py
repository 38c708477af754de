"""Data in remote storage, by URL: whatever fsspec opens (s3://, gs://, az://, hf://, https:// ...), as a local copy."""

import errno
import glob
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import fsspec
from fsspec.registry import available_protocols, known_implementations

from elixir.data.io import reason
from elixir.data.paths import printable, without_secrets
from elixir.data.remote.mirror import Copy, Entry, Stopped, cache, home_of, mirror, modification_time, told_place
from elixir.errors import ElixirError, nearest

IDENTITY = frozenset(("etag", "md5hash", "crc32c", "content-md5", "content_md5", "blob_id", "generation"))
"""What a file system may tell of the contents of a file, in lower case."""
CHANGED = frozenset(("lastmodified", "last-modified", "last_modified", "mtime", "updated", "modified", "created"))
"""Likewise, of the time when they were changed."""
CREDENTIALS = {
    "s3": "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (FSSPEC_S3_ANON=true for a public bucket)",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS (FSSPEC_GS_TOKEN=anon for a public bucket)",
    "az": "AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
    "hf": "HF_TOKEN",
}
"""Environment variables that give access, by protocol."""

USUAL = ("s3", "gs", "az", "hf", "https")
"""Protocols that a message names."""

PARALLEL = 16  # files that are fetched at the same time, where a file system can

_ALIASES = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_AGAIN = "run the same command again, which goes on from here"
_DISK = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS))


def is_url(text: str) -> bool:
    """Whether a text begins with a protocol, known or not."""
    return bool(_URL.match(text))


def is_object(url: str) -> bool:
    """Whether one object is there, and can be seen."""
    files, path = _file_system(url)
    return files.isfile(path)


def fetch(url: str, quiet: bool) -> Copy:
    """Copy an object, all below a prefix, or all that matches a pattern; what was copied before is not fetched again.

    Raises: ElixirError: it is not there, access is denied, the connection breaks, a package is missing, or there are
        names that cannot be those of files.
    """
    shown = without_secrets(url)
    files, path = _file_system(url)
    with _explained(url, shown):
        files.invalidate_cache()
        kind, found = _listed(files, path)
    if kind == "file":
        if shown.endswith("/") or found[path].get("mimetype") == "text/html":
            raise ElixirError(f"{shown} is a page for people; give the URL that a file is downloaded from")
        base, origin = path, posixpath.dirname(shown)
        entries, folders = {posixpath.basename(shown): _entry(path, found[path])}, []
    else:
        base, origin = (_above_pattern(text) if kind == "pattern" else text.rstrip("/") for text in (path, shown))
        entries, folders = _below(base, found, shown)
    if not entries:
        raise ElixirError(f"nothing lies at {shown}; check it")

    def get(key: str, target: Path, watch: fsspec.Callback) -> None:
        with _explained(url, shown if kind == "file" else f"{shown} ({printable(key)})"):
            files.get_file(key, str(target), callback=watch)

    home = home_of(posixpath.basename(shown.rstrip("/")), url)
    root = mirror(home, entries, folders, get, shown, quiet, PARALLEL if files.async_impl else 1)
    path_of = {"file": root / next(iter(entries)), "folder": root, "pattern": Path(glob.escape(str(root)), "**", "*")}
    return Copy(root, origin, path_of[kind], shown, f"{shown} was copied to {told_place(root)}")


def _file_system(url: str) -> tuple[Any, str]:
    """That of a URL, and what it calls the place."""
    protocol = url.partition("://")[0]
    shown = without_secrets(url)
    if "::" in url:
        raise ElixirError(f"{shown} is a chain of URLs; give that of the archive itself")
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError as error:
        usual = " ".join(f"{name}://" for name in USUAL)
        hint = nearest(protocol, available_protocols(), f"usual ones are {usual}")
        raise ElixirError(f"{shown} begins with {protocol}://, which is not known; {hint}") from error
    except ImportError as error:
        package = known_implementations[protocol]["class"].partition(".")[0]
        remedy = f"pip install '{package}'" if package != "fsspec" else f"{error}"
        raise ElixirError(f"{shown} cannot be read, as a package is missing; {remedy}") from error
    try:
        return fsspec.url_to_fs(url)
    except Exception as error:  # file systems raise anything for what they cannot make sense of
        raise ElixirError(f"{shown} cannot be read: {_one_line(error)}; check it") from error


def _listed(files: Any, path: str) -> tuple[Literal["file", "folder", "pattern"], dict[str, dict[str, Any]]]:
    """What a path stands for, and what its file system tells of each file and folder there."""
    try:
        about = files.info(path)
    except FileNotFoundError:
        if not glob.has_magic(path if "://" not in path else path.partition("?")[0]):
            raise
        return "pattern", files.glob(path, detail=True)
    if about["type"] != "directory":
        return "file", {path: about}
    return "folder", files.find(path, detail=True)


def _above_pattern(text: str) -> str:
    return re.split(r"[*?\[]", text, maxsplit=1)[0].rpartition("/")[0]


def _below(base: str, found: dict[str, dict[str, Any]], shown: str) -> tuple[dict[str, Entry], list[str]]:
    """Files and folders by their paths below the base; an empty object whose name ends with a slash is a folder."""
    entries: dict[str, Entry] = {}
    folders = []
    start = base.strip("/") + "/"
    for key, about in found.items():
        path = key.lstrip("/")
        if not path.startswith(start):
            raise ElixirError(f"{shown} lists {printable(key)[:200]!r}, which lies elsewhere; its server is not sound")
        name = path.removeprefix(start)
        if name.endswith("/") and not about["size"]:
            folders += [name.rstrip("/")] if name.strip("/") else []
        elif about["type"] != "directory" and name:
            entries[name] = _entry(key, about)
    return entries, folders


def _entry(key: str, about: dict[str, Any]) -> Entry:
    told = {name.lower(): value for name, value in about.items() if value is not None}
    changed = [value for name, value in sorted(told.items()) if name in CHANGED]
    identity = [f"{name} {value}" for name, value in sorted(told.items()) if name in IDENTITY]
    times = [value.timestamp() if isinstance(value, datetime) else value for value in changed]
    seconds = next((time for time in times if isinstance(time, int | float)), 0)
    known = identity or changed
    return Entry(key, about.get("size"), modification_time(seconds, (identity, times)) if known else None)


@contextmanager
def _explained(url: str, shown: str) -> Iterator[None]:
    """Turn whatever a file system raises into an ElixirError that says what to do."""
    try:
        yield
    except (ElixirError, Stopped):
        raise
    except Exception as error:
        raise ElixirError(_explanation(error, url, shown)) from error


def _explanation(error: BaseException, url: str, shown: str) -> str:
    if url.startswith("http") and isinstance(error, FileNotFoundError):  # which it is whatever the cause
        error = error.__cause__ or error
    why = _one_line(error)
    status = getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(error, OSError) and error.errno in _DISK:
        return f"cannot write to {told_place(cache())}: {reason(error)}; free some space, and {_AGAIN}"
    if isinstance(error, FileNotFoundError) or status == 404:
        return f"{shown} does not exist (no such bucket, or nothing in it of this name); check it"
    if isinstance(error, PermissionError) or status in (401, 403) or re.search("Credential|Auth", type(error).__name__):
        protocol = _ALIASES.get(name := url.partition("://")[0].lower(), name)
        ways = CREDENTIALS.get(protocol, f"FSSPEC_{protocol.upper()}, as JSON with what fsspec takes")
        return f"access to {shown} is denied ({why}); give credentials by {ways}"
    return f"the connection to {shown} is broken ({why}); {_AGAIN}"


def _one_line(error: BaseException) -> str:
    text = " ".join(printable(without_secrets(str(error))).split())
    return text[:300] or type(error).__name__
