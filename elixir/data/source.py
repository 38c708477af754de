"""Where labelled images come from: one interface over folders, tables and torch datasets."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from elixir.errors import ElixirError

Kind = Literal["folder", "hf", "parquet"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image, without its bytes. All text is valid UTF-8 (see `elixir.data.names`).

    Attributes:
        id: stable; in a folder the path relative to its root, in a table "<split or file stem>/<8-digit row>".
        label: index into the source's classes, -1 for none.
        name: file name including sub-folders under the class; without an extension where a table has no file name.
        problem: what is wrong with it, where that is known without reading it.
    """

    id: str
    label: int
    name: str
    problem: str | None = None


class Source(Protocol):
    """A labelled image dataset that is read one sample at a time; fastest in ascending order."""

    @property
    def kind(self) -> Kind:
        """Which kind of output keeps everything there is in it."""
        ...

    @property
    def location(self) -> str:
        """Where it is, for people."""
        ...

    @property
    def classes(self) -> list[str]:
        """Names of the labels; a class may have no samples."""
        ...

    @property
    def samples(self) -> Sequence[Sample]:
        """All samples, in the same order in every run."""
        ...

    def read(self, index: int) -> bytes:
        """The encoded image exactly as it is stored.

        Raises:
            UnreadableSample: it cannot be read, with the reason.
        """
        ...

    def fingerprint(self) -> str:
        """Hexadecimal digest that changes with the input, from names, sizes and times rather than contents."""
        ...


def open_source(src: Any, *, image: str | None = None, label: str | None = None, split: str | None = None) -> Source:
    """Find out what `src` is and open it.

    Args:
        src: a class-per-folder tree, a folder written by `save_to_disk`, a parquet file, a folder or glob of parquet
            files, the name of a dataset on the Hugging Face hub, a `datasets.Dataset` or `DatasetDict`, or a torch
            dataset of (image, label) with images as PIL, uint8 or float [0,1] tensors (c, h, w), or arrays (h, w, c).
        image: column of a table with the images, where it cannot be told from the types.
        label: column of a table with the labels, likewise.
        split: part of a dataset with several; "train" unless given. Only this part is read.

    Raises:
        ElixirError: there is no such thing, or no labelled images in it.
    """
    from elixir.data import tables
    from elixir.data.folder import FolderSource

    columns = tables.Columns(image, label, split)
    if not isinstance(src, str | Path):
        return tables.open_object(src, columns)
    path = Path(src).expanduser()
    if path.is_dir():
        if any((path / name).exists() for name in ("dataset_dict.json", "state.json")):
            return tables.open_saved(path, columns)
        if files := _parquet_files(path):
            return tables.open_parquet(files, columns, str(path))
        if columns.given:
            raise ElixirError(
                f"{path} is a folder of images; leave out --image, --label and --split, which are for tables"
            )
        return FolderSource(path)
    if path.is_file():
        if path.suffix != ".parquet":
            raise ElixirError(f"{path} is a file; give a folder of images, a dataset folder or a .parquet file")
        return tables.open_parquet([path], columns, str(path))
    if glob.has_magic(str(path)):
        names = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        files = sorted(Path(name) for name in names if name.endswith(".parquet"))
        if not files:
            raise ElixirError(f"no parquet file matches {path}; check the pattern")
        return tables.open_parquet(files, columns, str(path))
    if isinstance(src, str) and re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", src) and path.suffix != ".parquet":
        return tables.open_hub(src, columns)
    raise ElixirError(f"{path} does not exist (or cannot be seen from here); check the path")


def _parquet_files(folder: Path) -> list[Path]:
    """The parquet files of a folder that holds a table, in itself or in "data"; none if it also has class folders."""
    files = sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")])
    if any(child.is_dir() and not child.name.startswith(".") and child.name != "data" for child in folder.iterdir()):
        return []
    return [file for file in files if not file.name.startswith(".")]
