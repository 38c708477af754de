"""Writing files so that an interruption leaves none half written, and saying what went wrong."""

import json
import mmap
import os
import re
import shutil
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from elixir.data.paths import escape, without_secrets
from elixir.errors import ElixirError, UnreadableSample, explaining

if sys.platform == "linux":
    import fcntl

RUN_FOLDER = ".elixir"
ROWS_AT_ONCE = 4096
"""Rows of a table that are in memory together while it is written or read in one go."""
ROWS_IN_GROUP = 2**16  # of which parquet keeps all that is encoded in memory
FICLONE = 0x40049409  # request to the Linux kernel: share the blocks of another file
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")


def reason(error: OSError) -> str:
    """What the system said, without the path, and without the sentences that pyarrow wraps it in."""
    return (os.strerror(error.errno) if error.errno else str(error)).lower()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError inside into an ElixirError that names `path`."""
    try:
        yield
    except OSError as error:
        message = f"cannot write {escape(str(path))}: {reason(error)}"
        raise ElixirError(f"{message}; check free space and permissions, then run again") from error


@contextmanager
def reading_again(id: str) -> Iterator[None]:
    """Turn what goes wrong inside into an ElixirError that names a sample that could be read before."""
    try:
        yield
    except (OSError, UnreadableSample) as error:
        why = reason(error) if isinstance(error, OSError) else error.reason
        raise ElixirError(f"{id} cannot be read any more: {why}; the input has changed, run again") from error


@contextmanager
def replacing(path: Path, partial: Path) -> Iterator[Path]:
    """Write to `partial`, which becomes `path` if nothing goes wrong; ElixirError on a full or read-only disk."""
    with writing(path):
        try:
            yield partial
            partial.replace(path)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def replace_text(path: Path, text: str) -> None:
    """Write a small text file, UTF-8, as `replacing` does."""
    with replacing(path, path.with_name(f".{path.name}.partial")) as partial:
        partial.write_text(text, encoding="utf-8")


def replace_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a small JSON file, as `replacing` does."""
    replace_text(path, json.dumps(content, indent=1) + "\n")


@contextmanager
def _reading(path: Path, remedy: str, *kinds: type[Exception]) -> Iterator[None]:
    shown = escape(str(path))
    with explaining(kinds, f"{shown} cannot be read", remedy):
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ElixirError(f"{shown} does not exist; {remedy}") from error


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON file that holds an object; what is wrong with it is an ElixirError that ends with `remedy`."""
    with _reading(path, remedy, OSError, ValueError, RecursionError):
        content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict):
        raise ElixirError(f"{escape(str(path))} is JSON but holds no facts; {remedy}")
    return content


def read_table(path: Path, remedy: str, columns: list[str] | None = None) -> pa.Table:
    """Read a parquet file, or some columns of it; what is wrong with it is an ElixirError that ends with `remedy`."""
    with _reading(path, remedy, OSError, pa.ArrowException):
        return pq.read_table(path, columns=columns, use_threads=False)


def map_table(path: Path, remedy: str, columns: list[str] | None = None) -> pa.Table:
    """The same as `read_table`, mapped from a copy without a name, so that the system may take the memory back.

    The copy lies where `tempfile` puts such (TMPDIR), as long as the table is needed.
    """
    batches = _batches(path, remedy, columns)
    with writing(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as file:
        with pa.ipc.new_file(pa.PythonFile(file, "w"), next(batches).schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return pa.ipc.open_file(pa.py_buffer(mapped)).read_all()


def _batches(path: Path, remedy: str, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    """The rows of a parquet file, some at a time, behind a batch without any."""
    kinds = (OSError, pa.ArrowException, KeyError)
    with _reading(path, remedy, *kinds), pq.ParquetFile(path, pre_buffer=False) as stored:
        schema = stored.schema_arrow
        fields = [schema.field(name) for name in columns or schema.names]
        yield pa.RecordBatch.from_pylist([], pa.schema(fields, schema.metadata))
        yield from stored.iter_batches(ROWS_AT_ONCE, columns=columns, use_threads=False)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a parquet file, as `replacing` does; makes the folder."""
    with replacing(path, path.with_name(f".{path.name}.partial")) as partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, partial, row_group_size=ROWS_IN_GROUP)


def copy(source: Path, path: Path, partial: Path) -> None:
    """Copy a file, links followed, with times and permissions where the file system has them; makes the folder."""
    with replacing(path, partial):
        path.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as file, partial.open("wb") as new:
            if not clone(file, new):
                shutil.copyfileobj(file, new, 1 << 20)
        with suppress(OSError):  # vfat and CIFS mounts refuse permissions; the bytes are what matters
            shutil.copystat(source, partial)


def clone(source: BinaryIO, new: BinaryIO) -> bool:
    """Let a new file share the blocks of another until either is written to; False where the file system cannot."""
    if sys.platform != "linux":
        return False
    with suppress(OSError):
        fcntl.ioctl(new, FICLONE, source.fileno())
        return True
    return False


def temporary_folder(owner: object) -> Path:
    """A new folder where `tempfile` puts such (TMPDIR); it is deleted with its owner, at the end at the latest."""
    with writing(Path(tempfile.gettempdir())):
        folder = tempfile.mkdtemp(prefix="elixir-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def copy_folder(source: Path, folder: Path) -> None:
    """Copy a folder, perhaps into one that is there, links followed; its folders are writable whatever they were."""
    with writing(folder):
        shutil.copytree(source, folder, dirs_exist_ok=True)
        _make_writable(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder, also one of which some folders were made read-only. Raises: OSError."""
    try:
        shutil.rmtree(folder)
    except PermissionError:
        _make_writable(folder)
        shutil.rmtree(folder)


def let_move(path: Path) -> None:
    """Make sure that a folder of ours may be renamed to one in another folder, which needs leave to write in it."""
    if path.is_dir() and not path.is_symlink():
        _let_write(path)


def _make_writable(folder: Path) -> None:
    """Let the owner of a folder, and of all that are in it, read and write there; links are left alone."""
    _let_write(folder)
    for parent, names, _ in os.walk(folder):  # a folder is listed after those of its parent
        for child in (Path(parent, name) for name in names):
            if not child.is_symlink():
                _let_write(child)


def _let_write(folder: Path) -> None:
    mode = folder.stat().st_mode
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        folder.chmod(stat.S_IMODE(mode) | stat.S_IRWXU)


def resolving(path: str | Path) -> AbstractContextManager[None]:
    """Turn what goes wrong inside, where `path` is resolved, into an ElixirError that names it."""
    # no such user, a loop of links, a NUL
    return explaining((OSError, RuntimeError, ValueError), f"{escape(str(path))} is no path", "check it")


def real_path(path: str | Path) -> Path:
    """The path, absolute, with ~ and links resolved; an ElixirError if that is not possible, or it is a URL."""
    if url := _URL.match(str(path)):  # a Path has lost one of the slashes
        shown = without_secrets(f"{url[1]}://{str(path)[url.end() :]}")
        raise ElixirError(f"{shown} is a URL, where nothing is written; give a folder of this machine and upload it")
    with resolving(path):
        return Path(path).expanduser().resolve()


def refuse_bytes(path: Path) -> None:
    """Raise an ElixirError for a path that is no UTF-8, as pyarrow and safetensors write to no other."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        where = escape(str(path))
        raise ElixirError(f"{where} has bytes that are no UTF-8 in its name; give another folder with -o") from error


def is_readable_file(path: Path) -> bool:
    """Whether a path is, or leads to, a file that may be opened; a pipe is not opened to find out."""
    with suppress(OSError):
        if path.is_file():
            path.open("rb").close()
            return True
    return False


def occupied(path: Path) -> bool:
    """Whether something is there that an output would replace: a file, or a folder with anything in it."""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))
