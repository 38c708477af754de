"""Finds out where labelled images come from: folders, tables, arrays and Python objects."""

import glob
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import datasets

from elixir.data.arrays import are_arrays, open_arrays, open_npz
from elixir.data.backup import SinkWithBackup, empty_output
from elixir.data.folder import FileSource, FolderSink, open_folder, open_images
from elixir.data.hf import DatasetRows, open_dataset, open_hub, open_saved
from elixir.data.io import real_path, resolving
from elixir.data.objects import ObjectRows, image_files, open_objects
from elixir.data.parquet import ParquetFiles, open_parquet
from elixir.data.paths import escape, unescape
from elixir.data.patterns import is_pattern, matching
from elixir.data.repository import find_parquet
from elixir.data.source import Kind, Source, Subset
from elixir.data.stream import open_stream
from elixir.data.table import Choice, TableSource, has_paths
from elixir.data.table_sinks import HfSink, ParquetSink
from elixir.data.tar import COMPRESSED, TAR, refuse_compressed_name
from elixir.data.webdataset import WebDatasetSource, find_shards, open_webdataset
from elixir.data.webdataset_sink import webdataset_sink
from elixir.errors import ElixirError

PARQUET = ".parquet"
TRAIN, TEST = (Path(__file__).parents[1] / "sample" / f"signs-{name}.parquet" for name in ("train", "test"))
"""The shipped sample: 1,700 and 700 images of ten German traffic signs."""


def open_source(
    src: Any,
    *,
    image: str | None = None,
    label: str | None = None,
    split: str | None = None,
    follow_links: bool = False,
    usual: str = "train",
    labelled: bool = True,
) -> Source:
    """Find out what `src` is and open it.

    Args:
        src: a class-per-folder tree, a folder written by `save_to_disk`, a parquet file or a WebDataset shard (.tar), a
            folder or pattern of such files, an .npz file of images and labels, or the name of a dataset on the Hugging
            Face hub. Objects of Python: a `datasets.Dataset`, `DatasetDict` or stream of them (which is copied to a
            temporary folder); a torch dataset or a list of (image, label), or of dicts with both, images as PIL, uint8
            or float [0,1] tensors (c, h, w), or arrays (h, w, c); a pair (images, labels) of arrays; a `Subset` of an
            opened source.
        image: column of a table, or field of shards, with the images, where it cannot be told.
        label: column of a table with the labels, likewise.
        split: part of a dataset with several; only this part is read, by default the `usual` one.
        follow_links: whether links that leave a folder are followed.
        labelled: False makes any folder with images in it do, with or without class folders.
    """
    if isinstance(src, Subset):
        return src
    choice = Choice(image, label, split, usual)
    if not isinstance(src, str | Path):
        return _open_object(src, choice)
    with resolving(src):
        path = Path(src).expanduser()
    if path.is_dir():
        if _is_saved(path):
            return open_saved(path, choice)
        found, shards = find_parquet(path, follow_links), find_shards(path)
        if found and shards:
            patterns = " or ".join(f"{glob.escape(str(path))}/*{suffix}" for suffix in (PARQUET, TAR))
            raise ElixirError(f"{path} has both parquet files and WebDataset shards; give {patterns}, in quotes")
        if found:
            return open_parquet(found, choice, str(path))
        if shards:
            return open_webdataset(shards, choice, str(path))
        if not labelled:
            return open_images(path, follow_links)
        if image or label:
            raise ElixirError(f"{path} is a folder of images; leave out --image and --label, which are for tables")
        return open_folder(path, split, follow_links)
    if path.is_file():
        if path.suffix == ".npz":
            return open_npz(path, choice)
        if path.suffix == ".npy":
            raise ElixirError(f"{path} is one array; give an .npz file of images and labels (numpy.savez)")
        return _open_files([path], choice, str(path))
    if is_pattern(str(path)):
        return _open_files(matching(str(path), (PARQUET, TAR, *COMPRESSED)), choice, str(path))
    if isinstance(src, str) and re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", src) and path.suffix != ".parquet":
        return open_hub(src, choice)
    raise ElixirError(f"{path} does not exist (or cannot be seen from here); check the path")


def open_sink(kind: Kind, folder: Path, source: Source, shard_bytes: int | None = None) -> SinkWithBackup:
    """Start an output that keeps originals (see `SinkWithBackup`) in a folder with nothing but, perhaps, `.elixir`.

    With `shard_bytes`, which only parquet may have, it is in files of about this size.
    """
    empty_output(folder)
    if kind == "parquet":
        sink = ParquetSink(folder, source, shard_bytes)
    else:
        sink = {"folder": FolderSink, "hf": HfSink, "webdataset": webdataset_sink}[kind](folder, source)
    return SinkWithBackup(folder, source, sink)


def place_of(source: Source) -> Path:
    """The folder, file or pattern that a source was opened from; nothing is there if it is not one of the disk."""
    return source.root if isinstance(source, FileSource) else Path(unescape(source.location)).resolve()


def refuse_overlap(source: Source, dst: Path, around: bool = False) -> None:
    """Raise an ElixirError for an output that lies in what a source is read from or, but for `around`, holds it."""
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
    if isinstance(source, TableSource):
        for part in (source.rows, *(source.siblings or {}).values()):
            places += _files(part)
        places += _image_folders(source)
    if isinstance(source, WebDatasetSource):
        places += [*source.files, *source.copies.values()]
    return places


def _files(part: Any) -> list[Path]:
    """Those that rows or a sibling (see `TableSource`) are read from."""
    if isinstance(part, Path):
        return [part]
    if isinstance(part, DatasetRows):
        part = part.dataset
    if isinstance(part, datasets.Dataset):
        return [Path(file["filename"]).parent for file in part.cache_files]
    return list(part if isinstance(part, list) else getattr(part, "files", []))


def _image_folders(source: TableSource) -> set[Path]:
    """The folders of image files that a `datasets` or torch dataset does not hold but names."""
    if isinstance(source.rows, ObjectRows):
        paths = image_files(source.rows.dataset)
    elif isinstance(source.rows, DatasetRows) and has_paths(source.rows, source.image):
        paths = [path for piece in source.rows.column(source.image, "path") for path in piece.to_pylist()]
    else:
        paths = []
    named = {os.path.dirname(path) for path in paths if isinstance(path, str | Path)}  # noqa: PTH120 - there are many
    return {Path(folder) for folder in named if folder and Path(folder).is_dir()}


def _open_object(src: Any, choice: Choice) -> TableSource:
    if isinstance(src, datasets.Dataset | datasets.DatasetDict):
        return open_dataset(src, choice)
    if isinstance(src, datasets.IterableDataset | datasets.IterableDatasetDict):
        return open_stream(src, choice)
    if isinstance(src, Mapping) or are_arrays(src):
        return open_arrays(src, choice)
    if hasattr(src, "iloc"):
        raise ElixirError("cannot tell images in a DataFrame: give datasets.Dataset.from_pandas(...) of it")
    if hasattr(src, "__len__") and hasattr(src, "__getitem__"):
        return open_objects(src, choice)
    wanted = "what is in its attribute `dataset`" if hasattr(src, "dataset") else "a path, or a dataset with a length"
    raise ElixirError(f"cannot read samples from a {type(src).__name__}: give {wanted}")


def _open_files(files: list[Path], choice: Choice, location: str) -> Source:
    """Parquet files or shards, which are not mixed."""
    for file in files:
        refuse_compressed_name(file)
    suffixes = {file.suffix.lower() for file in files}
    if suffixes == {PARQUET}:
        return open_parquet(ParquetFiles.by_name(files), choice, location)
    if suffixes == {TAR}:
        return open_webdataset(files, choice, location)
    if suffixes == {PARQUET, TAR}:
        raise ElixirError(f"{location} stands for parquet files and WebDataset shards; give one kind of them")
    raise ElixirError(f"{location} is a file; give a folder of images, a dataset folder, a .parquet or a .tar file")


def _is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote a folder; a state.json may also lie in a tree by chance."""
    state = folder / "state.json"
    if (folder / "dataset_dict.json").exists() or (state.is_file() and any(folder.glob("*.arrow"))):
        return True
    with suppress(OSError):
        return state.is_file() and b'"_data_files"' in state.read_bytes()
    return True  # opening it says what is wrong
