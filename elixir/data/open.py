"""Finds out where labelled images come from: folders, tables, arrays and Python objects; here, remote or packed."""

import glob
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import datasets

from elixir.data.backup import FILES, SinkWithBackup, empty_output
from elixir.data.files.folder import FileSource, FolderSink, open_images
from elixir.data.files.listed import ListSink, open_list, open_tree
from elixir.data.files.lists import is_list_name
from elixir.data.files.placing import Link, Placing, tried_placing
from elixir.data.io import resolving
from elixir.data.objects.arrays import are_arrays, open_arrays, open_npz
from elixir.data.objects.samples import open_objects
from elixir.data.paths import escape, unescape, without_secrets
from elixir.data.patterns import is_pattern, matching
from elixir.data.remote.archive import unpack
from elixir.data.remote.mirror import Copy, cache
from elixir.data.remote.urls import USUAL, fetch, is_object, is_url
from elixir.data.shards.sinks import webdataset_sink
from elixir.data.shards.tar import COMPRESSED, TAR, refuse_compressed_name
from elixir.data.shards.webdataset import find_shards, open_webdataset
from elixir.data.source import Kind, Source, Subset
from elixir.data.tables.hf import open_dataset, open_hub, open_saved
from elixir.data.tables.parquet import ParquetFiles, open_parquet
from elixir.data.tables.repository import find_parquet
from elixir.data.tables.sinks import HfSink, ParquetSink
from elixir.data.tables.stream import open_stream
from elixir.data.tables.table import Choice, TableSource
from elixir.errors import ElixirError, nearest

PARQUET = ".parquet"
TRAIN, TEST = (Path(__file__).parents[1] / "sample" / f"signs-{name}.parquet" for name in ("train", "test"))
"""The shipped sample: 1,700 and 700 images of ten German traffic signs."""
HUB_NAME = r"[\w-][\w.-]*(/[\w-][\w.-]*)?"
PACKED = (".7z", ".rar", ".gz", ".bz2", ".xz", ".zst")
"""Endings of archives and packed files that are not unpacked here."""


def open_source(
    src: Any,
    *,
    image: str | None = None,
    label: str | None = None,
    split: str | None = None,
    follow_links: bool = False,
    usual: str = "train",
    labelled: bool = True,
    quiet: bool = True,
) -> Source:
    """Find out what `src` is and open it.

    Args:
        src: a class-per-folder tree, a list of images (CSV, TSV, JSON) or a folder with one, a folder written by
            `save_to_disk`, a parquet file or WebDataset shard (.tar), a folder or pattern of such files, or an .npz
            file of images and labels; a zip archive of these, or a path in one; the URL of any of them; any of them
            with one of `SCHEMES` before it, or "hf:" and the name of a dataset on the Hugging Face hub. Objects of
            Python: a `datasets.Dataset`, `DatasetDict` or stream of them (which is copied to a temporary folder); a
            torch dataset or a list of (image, label), or of dicts with both, images as PIL, uint8 or float [0,1]
            tensors (c, h, w), or arrays (h, w, c); a pair (images, labels) of arrays; a `Subset` of an opened source.
        image: column of a table or field of shards with the images, or column of a list with their paths, where it
            cannot be told.
        label: column of a table with the labels, likewise.
        split: part of a dataset with several; only this part is read, by default the `usual` one.
        follow_links: whether links that leave a folder are followed.
        labelled: False makes any folder with images in it do, with or without class folders.
        quiet: show no progress while data is copied from a URL or out of an archive.
    """
    if isinstance(src, Subset):
        return src
    choice = Choice(image, label, split, usual)
    if not isinstance(src, str | Path):
        return _open_object(src, choice)
    given = _Given(choice, labelled, follow_links)
    scheme, place = _scheme(src)
    if scheme == "hf":
        return _open_hub(place, choice)
    read = SCHEMES[scheme] if scheme else _open_path
    copy = _local_copy(place, scheme == "zip", quiet)
    if not copy:
        return read(Path(place), given)
    try:
        source = read(copy.path, given)
    except ElixirError as error:
        raise ElixirError(copy.told(str(error))) from error
    source.location = copy.told(source.location)
    source.notes[:] = [*map(copy.told, source.notes), f"{copy.note}; that may be removed when the run is over"]
    return source


@dataclass(frozen=True)
class _Given:
    """What `open_source` was told beside the source."""

    choice: Choice
    labelled: bool
    follow_links: bool


def _scheme(src: str | Path) -> tuple[str, str]:
    """The scheme before a path or URL, "" without one, and the rest; what exists under the whole name is a path."""
    text = str(src)
    with resolving(src):
        path = str(Path(src).expanduser())
        if os.path.lexists(path):
            return "", path
    if isinstance(src, Path):  # one of the slashes of a URL is lost in it
        text = re.sub(r"^([\w+.-]{2,}):/(?!/)", r"\1://", text, flags=re.ASCII)
    if text.startswith("file://"):
        return "", text.removeprefix("file://")
    if is_url(text):
        return "", text
    scheme, colon, place = text.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z][\w+.-]+", scheme, re.ASCII):
        return "", path
    if scheme not in (*SCHEMES, "hf"):
        known = [f"{name}:" for name in sorted((*SCHEMES, "hf"))]
        hint = nearest(f"{scheme}:", known, f"what may stand before a path is {' '.join(known)}")
        if scheme in USUAL:
            hint = f"did you mean '{scheme}://'?"
        raise ElixirError(f"{escape(without_secrets(text))} does not exist, and {scheme}: is no way to read it; {hint}")
    if is_url(place) or scheme == "hf":
        return scheme, place
    with resolving(place):
        return scheme, str(Path(place).expanduser())


def place_again(src: Any) -> str | None:
    """The words for a path, pattern or URL by which `open_source` finds it from any folder; None for other sources.

    A URL loses what may give access.
    """
    if not isinstance(src, str | Path):
        return None
    scheme, place = _scheme(src)
    place = without_secrets(place) if is_url(place) or scheme == "hf" else os.path.abspath(place)
    return f"{scheme}:{place}" if scheme else place


def _open_path(path: Path, given: _Given) -> Source:
    """What lies at a path or matches a pattern, whatever it is."""
    choice = given.choice
    if path.is_dir():
        if _is_saved(path):
            return open_saved(path, choice, given.follow_links)
        found, shards = find_parquet(path, given.follow_links), find_shards(path)
        if found and shards:
            patterns = " or ".join(f"{glob.escape(str(path))}/*{suffix}" for suffix in (PARQUET, TAR))
            raise ElixirError(f"{path} has both parquet files and WebDataset shards; give {patterns}, in quotes")
        if found:
            return open_parquet(found, choice, str(path))
        if shards:
            return open_webdataset(shards, choice, str(path))
        return _open_folder(path, given)
    if path.is_file():
        return _open_file(path, given)
    if is_pattern(str(path)):
        return _open_files(matching(str(path), (PARQUET, TAR, *COMPRESSED)), choice, str(path))
    what = f"{escape(str(path))} does not exist (or cannot be seen from here); check the path"
    if re.fullmatch(HUB_NAME, str(path)):
        what += f"; for a dataset on the Hugging Face hub give hf:{path}"
    raise ElixirError(what)


def _open_file(path: Path, given: _Given) -> Source:
    if path.suffix == ".npz":
        return open_npz(path, given.choice)
    if path.suffix == ".npy":
        raise ElixirError(f"{path} is one array; give an .npz file of images and labels (numpy.savez)")
    if is_list_name(path.name):
        return _open_list(path, given)
    refuse_compressed_name(path)
    if path.name.lower().endswith(PACKED):
        what = f"{escape(str(path))} is an archive that is not read, other than .zip"
        raise ElixirError(f"{what}; unpack it and give the folder")
    return _open_files([path], given.choice, str(path))


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
    what = f"{location} is a file of no kind that is known"
    raise ElixirError(f"{what}; give a folder, or a file that ends with .parquet, .tar, .zip, .csv, .jsonl or .npz")


def _open_folder(path: Path, given: _Given, trusted: bool = False) -> Source:
    """Folders of images, whatever else may lie there; `trusted`: they are classes, whatever they are called."""
    if not given.labelled:
        return open_images(path, given.follow_links)
    return open_tree(path, given.choice, given.follow_links, trusted)


def _open_list(path: Path, given: _Given) -> Source:
    return open_list(path, given.choice, given.follow_links)


def _open_parquet(path: Path, given: _Given) -> Source:
    """One parquet file under whatever name, or those of a folder or pattern."""
    files = ParquetFiles.by_name(_files_of(path, (PARQUET,)))
    return open_parquet(files, given.choice, str(path))


def _open_shards(path: Path, given: _Given) -> Source:
    """Likewise WebDataset shards."""
    return open_webdataset(_files_of(path, (TAR, *COMPRESSED)), given.choice, str(path))


def _files_of(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if path.is_file():
        return [path]
    return matching(f"{glob.escape(str(path))}/**/*" if path.is_dir() else str(path), suffixes)


def _open_hub(name: str, choice: Choice) -> TableSource:
    if not re.fullmatch(HUB_NAME, name):
        raise ElixirError(f"hf:{name} names no dataset of the Hugging Face hub; give hf:user/name")
    return open_hub(name, choice)


SCHEMES: dict[str, Callable[[Path, _Given], Source]] = {
    "folder": partial(_open_folder, trusted=True),
    "list": _open_list,
    "parquet": _open_parquet,
    "wds": _open_shards,
    "zip": _open_path,
}
"""How to read a path or URL, by what stands before it and a colon; "hf" is another, before the name of a dataset."""


def _local_copy(place: str, zipped: bool, quiet: bool) -> Copy | None:
    """Of what has a URL, or is or lies in a zip archive, here or there; None for what can be read where it is."""
    archive, inner = _archive_in(place, zipped)
    where = archive or place
    copy = fetch(where, quiet) if is_url(where) else None
    if not archive:
        return copy
    location = copy.location if copy else escape(archive)
    unpacked = unpack(copy.path if copy else Path(archive), location, inner, quiet)
    return replace(unpacked, note=f"{copy.note}, and {unpacked.note}") if copy else unpacked


def _archive_in(place: str, zipped: bool) -> tuple[str, str]:
    """The zip archive that a place is or lies in, "" if none, and the path in it; `zipped`: whatever it is called."""
    is_file = is_object if is_url(place) else os.path.isfile
    path = place.partition("?")[0] if is_url(place) else place
    for match in re.finditer(r"\.zip(?=/|$)", path, re.IGNORECASE):
        whole, inner = path[: match.end()], path[match.end() :].strip("/")
        whole = whole if inner else place
        if is_file(whole):
            return whole, inner
    return (place if zipped and is_file(place) else ""), ""


def open_sink(
    kind: Kind,
    folder: Path,
    source: Source,
    shard_bytes: int | None = None,
    link: Link | None = None,
    origins: Mapping[Path, Path] | None = None,
) -> SinkWithBackup:
    """Start an output that keeps originals (see `SinkWithBackup`) in a folder with nothing but, perhaps, `.elixir`.

    Args:
        shard_bytes: about the size of its files; only for parquet.
        link: untouched files are such links instead of copies; only for files of files.
        origins: see `Placing`.

    Raises: ElixirError: the folder is not empty, or the output cannot be of this kind or have links.
    """
    empty_output(folder)
    placing = _linking(kind, folder, source, link, origins) if link else Placing(folder)
    if kind == "parquet":
        sink = ParquetSink(folder, source, shard_bytes)
    elif kind in FILES:
        sink = (FolderSink if kind == "folder" else ListSink)(folder, source, placing)
    else:
        sink = (HfSink if kind == "hf" else webdataset_sink)(folder, source)
    return SinkWithBackup(folder, source, sink, placing)


def _linking(
    kind: Kind, folder: Path, source: Source, link: Link, origins: Mapping[Path, Path] | None = None
) -> Placing:
    if kind not in FILES or not isinstance(source, FileSource):
        what = f"the output ({kind}) of {source.location} ({source.kind}) cannot link to its input"
        raise ElixirError(f"{what}, as only folders and lists of files can; leave out --link and --symlink")
    if source.root.is_relative_to(cache()):
        what = f"{source.location} is read from a copy that may change or be removed"
        raise ElixirError(f"{what}; leave out --link and --symlink, or unpack or download it and give the folder")
    samples = (sample.id for sample in source.samples if not sample.problem)
    files = (source.root / unescape(path) for path in chain(samples, source.others))
    return tried_placing(folder, link, files, origins)


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


def _is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote a folder; a state.json may also lie in a tree by chance."""
    state = folder / "state.json"
    if (folder / "dataset_dict.json").exists() or (state.is_file() and any(folder.glob("*.arrow"))):
        return True
    with suppress(OSError):
        return state.is_file() and b'"_data_files"' in state.read_bytes()
    return True  # opening it says what is wrong
