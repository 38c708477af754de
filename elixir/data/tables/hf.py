"""Hugging Face datasets: on disk as `save_to_disk` leaves and reads them, in memory, or from the hub."""

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import datasets
import datasets.config
import datasets.table
import huggingface_hub.constants as hub
import pyarrow as pa

from elixir.data.io import copy_folder, read_json, writing
from elixir.data.paths import escape, file_name
from elixir.data.tables.features import column_descriptions, described, features, refuse_unknown, with_description
from elixir.data.tables.schema import conformed
from elixir.data.tables.table import Choice, FileRows, Rows, RowWriter, TableSource, struct_field
from elixir.errors import ElixirError, explaining

SHARD_BYTES = 500 << 20  # size from which on an arrow file is followed by another
ABOUT = ("citation", "description", "homepage", "license")
"""What a dataset tells of itself and what holds for a changed one too."""

_SAVE_AGAIN = "save the dataset again"
_REMOTE = ("hf", "http", "https")


class ArrowRows(FileRows):
    """The arrow files of a dataset, memory-mapped; an ElixirError if one is damaged or has other columns or labels."""

    def __init__(self, files: list[Path], stem: str, about: dict[str, str]) -> None:
        super().__init__(files, about)
        self._batches: list[pa.RecordBatch] = []
        self._files: list[Path] = []  # of each batch
        schemas = []
        for file in files:
            what = f"{file} cannot be read as an arrow file"
            with explaining((OSError, ValueError, pa.ArrowException), what, _SAVE_AGAIN):
                with pa.ipc.open_stream(pa.memory_map(os.fsencode(file))) as reader:
                    schema = reader.schema
                    batches = [batch for batch in reader if len(batch)]
                for batch in batches:
                    batch.validate(full=True)  # a wrong offset in a mapped file would end the process
            schemas.append(schema)
            self._batches += batches
            self._files += [file] * len(batches)
        self._starts = list(accumulate(map(len, self._batches), initial=0))
        self.parts = [(stem, self._starts[-1])]
        self._unify(schemas)

    def row(self, index: int) -> pa.Table:
        number = bisect_right(self._starts, index) - 1
        return conformed(self._batches[number].slice(index - self._starts[number], 1), self.schema)

    def column(self, name: str, field: str = "") -> Iterator[pa.Array]:
        for file, batch in zip(self._files, self._batches, strict=True):
            yield self._in_type(struct_field(batch.column(name), field), name, field, file)


class DatasetRows:
    """A `datasets.Dataset`; images that are only named in it are read from their files."""

    def __init__(self, dataset: datasets.Dataset, stem: str) -> None:
        self.dataset = dataset.with_format("arrow")
        self.schema = dataset.features.arrow_schema
        self.parts = [(stem, len(dataset))]
        self.about = about_of(vars(dataset.info))

    def row(self, index: int) -> pa.Table:
        row: Any = self.dataset[index : index + 1]
        try:
            return datasets.table.embed_table_storage(row)
        except Exception:  # file systems raise anything for what is not there or broken: the row then has no image
            return row

    def column(self, name: str, field: str = "") -> Iterator[pa.Array]:
        table: Any
        for table in self.dataset.select_columns([name]).iter(256):
            for chunk in table.column(0).chunks:
                yield struct_field(chunk, field)

    def fingerprint(self) -> str:
        """See `Rows.fingerprint`: the one that `datasets` keeps."""
        return hashlib.sha256(self.dataset._fingerprint.encode()).hexdigest()


def open_dataset(src: datasets.Dataset | datasets.DatasetDict, choice: Choice) -> TableSource:
    """A `datasets.Dataset`, or one split of a `DatasetDict`."""
    if isinstance(src, datasets.DatasetDict):
        splits: dict[str, Any] = {str(name): part for name, part in src.items()}
        split = choice.split_of(plain_names(list(splits), "the DatasetDict"), "the DatasetDict")
        rows = DatasetRows(splits.pop(split), split)
        return TableSource.of(rows, "hf", f"DatasetDict[{split!r}]", choice, split, splits)
    (split,) = plain_names([str(src.split or "train")], "the Dataset")
    return TableSource.of(DatasetRows(src, split), "hf", f"Dataset of {len(src)} rows", choice, split)


def open_saved(folder: Path, choice: Choice, follow_links: bool = False) -> TableSource:
    """A folder written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`."""
    _refuse_links(folder, follow_links)
    split, siblings, part = "train", None, folder
    if (listing := folder / "dataset_dict.json").exists():
        splits = plain_names(read_json(listing, _SAVE_AGAIN).get("splits"), escape(str(listing)))
        split = choice.split_of(splits, str(folder))
        siblings = {name: folder / name for name in splits if name != split}
        for name, sibling in siblings.items():
            if not sibling.is_dir():
                raise ElixirError(f"{escape(str(listing))} lists the split {name!r}, which is not there; {_SAVE_AGAIN}")
        part = folder / split
    if siblings is None:
        state = folder / "state.json"
        (split,) = plain_names([read_json(state, _SAVE_AGAIN).get("_split") or "train"], escape(str(state)))
    return TableSource.of(saved_rows(part, split), "hf", escape(str(folder)), choice, split, siblings)


def open_hub(name: str, choice: Choice) -> TableSource:
    """A dataset on the Hugging Face hub, downloaded by `datasets`."""
    try:
        found = datasets.load_dataset(name)
    except Exception as error:  # also for mistakes in the dataset itself
        why = " ".join(str(error).split())
        remedy = "check the spelling and the network"
        if "Config name is missing" in why:
            remedy = f"take one by load_dataset({name!r}, NAME).save_to_disk(FOLDER) in Python, and give the folder"
        raise ElixirError(f"{name} cannot be loaded from the Hugging Face hub: {why}; {remedy}") from error
    source = open_dataset(found, choice)
    for split, part in found.items():
        if outside := external_file(DatasetRows(part, str(split))):
            where = "is a file of this machine and not of the dataset; do not use it"
            raise ElixirError(f"{name} names {escape(outside)!r} as one of its images, which {where}")
    source.location = f"{name} ({source.split})"
    return source


def external_file(rows: Rows) -> str | None:
    """The first file that downloaded rows name which is neither remote nor in a Hugging Face cache."""
    caches = [Path(os.path.realpath(place)) for place in (datasets.config.HF_DATASETS_CACHE, hub.HF_HUB_CACHE)]
    nested = [column.name for column in rows.schema if pa.types.is_nested(column.type)]
    paths = (path for name in nested for values in rows.column(name) for path in _named_only(values))
    return next((path for path in paths if not _allowed(path, caches)), None)


def _named_only(values: pa.Array) -> Iterator[str]:
    """The paths of all files, however deep, whose bytes are not there."""
    if pa.types.is_struct(values.type):
        fields = dict(zip((field.name for field in values.type), values.flatten(), strict=True))
        if {"bytes", "path"} <= fields.keys():
            yield from fields["path"].filter(fields["bytes"].is_null()).drop_null().to_pylist()
        for field in fields.values():
            yield from _named_only(field)
    elif pa.types.is_nested(values.type) and hasattr(values, "flatten"):
        yield from _named_only(values.flatten())


def _allowed(path: str, caches: list[Path]) -> bool:
    file = path.rpartition("::")[2]  # what a chain such as zip://image.png::archive.zip opens on disk
    scheme, separator, _ = file.partition("://")
    if separator:
        return scheme in _REMOTE
    real = Path(os.path.realpath(file))
    return any(real.is_relative_to(cache) for cache in caches)


def saved_rows(folder: Path, split: str) -> ArrowRows:
    """The rows, perhaps none, that `Dataset.save_to_disk` wrote; an ElixirError for a damaged or too old folder."""
    file = folder / "state.json"
    state, name = read_json(file, _SAVE_AGAIN), escape(str(file))
    if state.get("_indices_data_files"):
        raise ElixirError(f"{name} has its rows in another order, as old versions of datasets did; {_SAVE_AGAIN}")
    listed = state.get("_data_files")
    if not listed or not isinstance(listed, list):
        raise ElixirError(f"{name} lists no data files; {_SAVE_AGAIN}")
    names = [entry.get("filename") if isinstance(entry, dict) else entry for entry in listed]
    info = folder / "dataset_info.json"
    facts = read_json(info, _SAVE_AGAIN) if info.exists() else {}
    columns = column_descriptions(facts)
    refuse_unknown(columns, escape(str(info)))
    rows = ArrowRows([folder / file for file in plain_names(names, name)], split, about_of(facts))
    told = with_description(rows.schema, columns)  # which is what `datasets` goes by
    if columns and described(told) != described(rows.schema):
        rows.schema = told
    return rows


def _refuse_links(folder: Path, follow: bool) -> None:
    """Those to folders, which may go round in circles, and those out of the dataset unless they are followed."""
    root = Path(os.path.realpath(folder))
    for path in root.rglob("*"):
        if path.is_symlink():
            target = Path(os.path.realpath(path))
            if target.is_dir():
                raise ElixirError(f"{escape(str(path))} is a link to a folder; put what it points at in its place")
            if not follow and not target.is_relative_to(root):
                raise ElixirError(
                    f"{escape(str(path))} is a link that leaves the dataset; add --follow-links to read it"
                )


def plain_names(names: Any, place: str) -> list[str]:
    """The names of splits or files that a dataset gives, if they are plain ones: a path could lead anywhere."""
    if not isinstance(names, list):
        raise ElixirError(f"{place} holds no list of splits; {_SAVE_AGAIN}")
    for name in names:
        if not isinstance(name, str) or not name.isprintable() or file_name(name) != name:
            raise ElixirError(f"{place} has {str(name)[:80]!r} where the name of a file or folder should be; rename it")
    return names


def about_of(facts: dict[str, Any]) -> dict[str, str]:
    """What a dataset's own facts say of the whole: figures among them would not hold for the output."""
    return {name: facts[name] for name in ABOUT if isinstance(facts.get(name), str)}


class ArrowWriter(RowWriter):
    """A folder as `Dataset.save_to_disk` writes it, from rows that come one by one.

    `datasets` writes it for a dataset without rows, of as many files; files that hold the rows take the place of these.
    For the rows it would not do: it reads image files that a row only names into the output, shortens the paths beside
    images, and would write everything twice. `about` is what dataset_info.json says for each of `ABOUT`.
    """

    def __init__(self, folder: Path, schema: pa.Schema, split: str, about: dict[str, str] | None = None) -> None:
        super().__init__(schema)
        self.folder = folder
        self.split = split
        self.about = about or {}
        self._shards: list[Path] = []
        self._digest = hashlib.sha256(schema.serialize())
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._start_shard()

    def close(self) -> None:
        super().close()
        with writing(self.folder):
            self._finish_shard()
            known = features(self.schema)
            empty = datasets.Dataset(
                datasets.table.InMemoryTable(known.arrow_schema.empty_table()),
                datasets.DatasetInfo.from_dict({"features": known, **self.about}),
                datasets.NamedSplit(self.split),
                fingerprint=self._digest.hexdigest()[:16],
            )
            _save(empty, self.folder, num_shards=len(self._shards))
            for shard, name in zip(self._shards, sorted(self.folder.glob("data-*.arrow")), strict=True):
                shard.replace(name)

    def _write(self, table: pa.Table) -> None:
        with writing(self.folder):
            if self._file.tell() >= SHARD_BYTES:
                self._finish_shard()
                self._start_shard()
            self._stream.write_table(table)
        for column in table.columns:
            for buffer in (buffer for chunk in column.chunks for buffer in chunk.buffers() if buffer):
                self._digest.update(buffer)

    def _start_shard(self) -> None:
        self._shards.append(self.folder / f"{len(self._shards):05d}.partial")
        with writing(self.folder):
            self._file = pa.OSFile(str(self._shards[-1]), "wb")
            self._stream = pa.ipc.new_stream(self._file, self.schema)

    def _finish_shard(self) -> None:
        self._stream.close()
        self._file.close()


def _save(dataset: datasets.Dataset, folder: Path, **options: Any) -> None:
    """`save_to_disk` without a progress bar."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        dataset.save_to_disk(str(folder), **options)
    finally:
        if shown:
            datasets.enable_progress_bars()


def write_siblings(folder: Path, split: str, siblings: dict[str, Any]) -> None:
    """Put the other splits of a `DatasetDict` next to the one that was written."""
    for name, sibling in siblings.items():
        with writing(folder / name):
            if isinstance(sibling, Path):
                copy_folder(sibling, folder / name)
            else:
                _save(sibling, folder / name)
    list_splits(folder, [split, *siblings])


def list_splits(folder: Path, splits: list[str]) -> None:
    """Make a folder of datasets a `DatasetDict`."""
    with writing(folder):
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": splits}), "utf-8")
