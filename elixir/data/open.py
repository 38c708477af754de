"""Finds out where labelled images come from: folders, tables and torch datasets."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Any

from elixir.data import tables
from elixir.data.folder import FolderSource
from elixir.data.folder_sink import FolderSink
from elixir.data.io import real_path, resolving
from elixir.data.paths import escape, unescape
from elixir.data.sink import Sink
from elixir.data.source import Kind, Source
from elixir.data.subset import Part
from elixir.data.table_sink import HfSink, ParquetSink
from elixir.errors import ElixirError


def open_source(
    src: Any,
    *,
    image: str | None = None,
    label: str | None = None,
    split: str | None = None,
    usual: str = "train",
    labelled: bool = True,
) -> Source:
    """Find out what `src` is and open it.

    Args:
        src: a class-per-folder tree, a folder written by `save_to_disk`, a parquet file, a folder or glob of parquet
            files, the name of a dataset on the Hugging Face hub, a `datasets.Dataset` or `DatasetDict`, or a torch
            dataset of (image, label) with images as PIL, uint8 or float [0,1] tensors (c, h, w), or arrays (h, w, c);
            or a `Part` of an opened source.
        image: column of a table with the images, where it cannot be told from the types.
        label: column of a table with the labels, likewise.
        split: part of a dataset with several; only this part is read.
        usual: the part to read unless `split` is given.
        labelled: False makes any folder with images in it do, with or without class folders.

    Raises:
        ElixirError: there is no such thing, or no labelled images in it.
    """
    if isinstance(src, Part):
        return src
    choice = tables.Choice(image, label, split, usual)
    if not isinstance(src, str | Path):
        return tables.open_object(src, choice)
    with resolving(src):
        path = Path(src).expanduser()
    if path.is_dir():
        if _is_saved(path):
            return tables.open_saved(path, choice)
        if files := _parquet_files(path):
            return tables.open_parquet(files, choice, str(path))
        if choice.given:
            raise ElixirError(
                f"{path} is a folder of images; leave out --image, --label and --split, which are for tables"
            )
        return FolderSource(path, labelled)
    if path.is_file():
        if path.suffix != ".parquet":
            raise ElixirError(f"{path} is a file; give a folder of images, a dataset folder or a .parquet file")
        return tables.open_parquet([path], choice, str(path))
    if glob.has_magic(str(path)):
        names = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        files = sorted(Path(name) for name in names if name.endswith(".parquet"))
        if not files:
            raise ElixirError(f"no parquet file matches {path}; check the pattern")
        return tables.open_parquet(files, choice, str(path))
    if isinstance(src, str) and re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", src) and path.suffix != ".parquet":
        return tables.open_hub(src, choice)
    raise ElixirError(f"{path} does not exist (or cannot be seen from here); check the path")


def open_sink(kind: Kind, folder: Path, source: Source) -> Sink:
    """Start the output.

    Changed samples keep their original in `.elixir/originals` ("purified", "relabelled", "dropped") or
    `.elixir/quarantine` ("quarantined"): a file with the sample's id as its path, or for tables a row of
    `.elixir/originals.parquet` or `.elixir/quarantine.parquet`. `.elixir/restore.json` holds what else is needed to
    rebuild the input.

    Args:
        kind: of the output.
        folder: holds nothing, or `.elixir` alone; originals and quarantine of an earlier attempt in there are removed.
        source: what the decisions are about, from `open_source`.

    Raises:
        ElixirError: the folder is not empty or cannot be written.
    """
    return {"folder": FolderSink, "hf": HfSink, "parquet": ParquetSink}[kind](folder, source)


def place_of(source: Source) -> Path:
    """The folder, file or pattern that a source was opened from; nothing is there if it is not one of the disk."""
    return source.root if isinstance(source, FolderSource) else Path(unescape(source.location)).resolve()


def refuse_overlap(source: Source, dst: Path, around: bool = False) -> None:
    """Make sure that an output neither lies in what a source is read from nor holds it.

    Args:
        source: the input.
        dst: the output.
        around: whether it may hold it, as nothing is removed or replaced there.

    Raises:
        ElixirError: it does.
    """
    dst = real_path(dst)
    for place in (path.resolve() for path in _places(source)):
        here, there = escape(str(place)), escape(str(dst))
        if _same(place, dst):
            raise ElixirError(f"source and destination are the same: {there}; give another folder with -o")
        if any(_same(place, parent) for parent in dst.parents):
            raise ElixirError(f"the destination {there} lies inside the source {here}; give a folder outside of it")
        if not around and any(_same(parent, dst) for parent in place.parents):
            raise ElixirError(f"the source {here} lies inside the destination {there}; give another folder with -o")


def _same(one: Path, other: Path) -> bool:
    """Whether both are there and are one and the same, under whatever name."""
    return one.exists() and other.exists() and one.samefile(other)


def _places(source: Source) -> list[Path]:
    """The files and folders on disk that a source is read from."""
    opened = place_of(source)
    places = [opened] if opened.exists() else []
    if isinstance(source, tables.TableSource):
        parts = (source.rows, *(source.siblings or {}).values())
        places += [place for part in parts for place in tables.places(part)]
        places += tables.named_folders(source)
    return places


def _is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote a folder; a state.json may also lie in a tree by chance."""
    state = folder / "state.json"
    if (folder / "dataset_dict.json").exists() or (state.is_file() and any(folder.glob("*.arrow"))):
        return True
    try:
        return state.is_file() and b'"_data_files"' in state.read_bytes()
    except OSError:  # opening it says what is wrong
        return True


def _parquet_files(folder: Path) -> list[Path]:
    """The parquet files of a folder that holds a table, in itself or in "data".

    Raises:
        ElixirError: it has other folders too: one of the two would be passed on unseen.
    """
    folders = [child for child in sorted(folder.iterdir()) if child.is_dir() and not child.name.startswith(".")]
    found = [file for place in (folder, *folders) for file in place.glob("*.parquet")]
    files = sorted(file for file in found if file.is_file() and not file.name.startswith("."))
    others = [child.name for child in folders if child.name != "data"]
    if files and others:
        one = len({file.parent for file in files}) == 1
        pattern = f"{glob.escape(str(files[0].parent if one else folder))}/{'' if one else '**/'}*.parquet"
        raise ElixirError(
            f"{escape(str(folder))} has both parquet files ({escape(files[0].name)}) and folders that may be classes "
            f"({escape(others[0])}); give {escape(pattern)}, or a folder that has the class folders alone"
        )
    return files
