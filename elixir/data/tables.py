"""Labelled images in tables: Hugging Face datasets, parquet files, torch datasets."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

import datasets
import numpy as np
import pyarrow as pa

from elixir.data.external_files import stray_file
from elixir.data.io import read_json
from elixir.data.paths import escape, file_name, folded
from elixir.data.rows import ArrowRows, DatasetRows, ParquetRows, Rows, TorchRows, features
from elixir.data.source import Sample
from elixir.data.table_writer import ABOUT
from elixir.errors import ElixirError, UnreadableSample

IMAGE_NAMES = ("image", "img", "images", "picture", "photo", "pixel_values", "jpg", "png", "webp")
LABEL_NAMES = ("label", "labels", "y", "target", "targets", "class", "fine_label", "category", "cls")

log = logging.getLogger(__name__)

_SAVE_AGAIN = "save the dataset again"
_SPLIT = re.compile(r"(?<![a-z])(train|test|validation|valid|val|dev|eval)(?![a-z])")


@dataclass(frozen=True)
class Choice:
    """Which columns and split the user named; None where they are to be detected.

    Attributes:
        image: column with the images.
        label: column with the labels.
        split: of several.
        usual: split that is taken where none is named.
    """

    image: str | None = None
    label: str | None = None
    split: str | None = None
    usual: str = "train"

    @property
    def given(self) -> bool:
        """Whether any is named."""
        return any((self.image, self.label, self.split))


@dataclass
class TableSource:
    """A table with an image and a label column.

    Attributes:
        kind: "parquet", or "hf" for everything that `save_to_disk` keeps best.
        location: for people.
        rows: the table.
        image: name of the image column: struct of bytes and path, or binary.
        label: name of the label column: class index, integer or string.
        split: name of the split that `rows` is.
        siblings: the dataset's other splits by name, not to be touched: a folder, parquet files or a dataset each;
            None when the dataset is not one of splits.
        about: description, citation, homepage and license where a Hugging Face dataset tells them.
        classes: names of the labels.
        values: what the label column holds for each class.
        samples: made on demand.
    """

    kind: Literal["hf", "parquet"]
    location: str
    rows: Rows
    image: str
    label: str
    split: str = "train"
    siblings: dict[str, Any] | None = None
    about: dict[str, str] = field(init=False)
    classes: list[str] = field(init=False)
    values: list[Any] = field(init=False)
    samples: Sequence[Sample] = field(init=False)

    def __post_init__(self) -> None:
        self.classes, self.values, labels = _labels(self.rows, self.label)
        if not len(labels):
            raise ElixirError(f"{self.location} has no rows; check that this is the right dataset")
        if not self.classes:
            raise ElixirError(f"column {self.label!r} of {self.location} holds no labels; name another with --label")
        for name in self.classes:
            if re.search("[\ud800-\udfff]", name):
                where = f"column {self.label!r} of {self.location}"
                raise ElixirError(f"{where} has the class name {name[:80]!r}, which is no valid text; rename it")
        self.about = _about(self.rows)
        self.samples = TableSamples(self.rows.parts, labels, _names(self.rows, self.image, labels))

    def read(self, index: int) -> bytes:
        """See `Source.read`."""
        value = self.rows.row(index).column(self.image)[0]
        data = value.as_py()
        if isinstance(data, dict):
            data = data.get("bytes")
        if data is None:
            raise UnreadableSample("no image is stored")
        return data

    def fingerprint(self) -> str:
        """See `Source.fingerprint`."""
        return self.rows.fingerprint()


class TableSamples(Sequence[Sample]):
    """The samples of a table, from two arrays.

    Args:
        parts: stem and number of rows of each part.
        labels: int32 (n,), -1 for none.
        names: (n,) file names, null where there is none.
    """

    def __init__(self, parts: list[tuple[str, int]], labels: np.ndarray, names: pa.Array) -> None:
        self._stems = [stem for stem, _ in parts]
        self._starts = np.cumsum([0, *(count for _, count in parts)])
        self._labels = labels
        self._names = names

    def __len__(self) -> int:
        return len(self._labels)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        part = int(np.searchsorted(self._starts, index, "right")) - 1
        label = int(self._labels[index])
        return Sample(
            id=f"{self._stems[part]}/{index - self._starts[part]:08d}",
            label=label,
            name=self._names[index].as_py() or f"{index:08d}",
        )


def open_object(src: Any, choice: Choice) -> TableSource:
    """A `datasets.Dataset` or `DatasetDict`, or a torch dataset."""
    if isinstance(src, datasets.IterableDatasetDict):
        raise ElixirError("a dataset that is streamed has no length; load it without streaming=True")
    if isinstance(src, datasets.DatasetDict):
        splits: dict[str, Any] = {str(name): part for name, part in src.items()}
        split = _choose(_plain_names(list(splits), "the DatasetDict"), choice, "the DatasetDict")
        siblings = {name: part for name, part in splits.items() if name != split}
        return _open(DatasetRows(splits[split], split), "hf", f"DatasetDict[{split!r}]", choice, split, siblings)
    if isinstance(src, datasets.Dataset):
        (split,) = _plain_names([str(src.split or "train")], "the Dataset")
        return _open(DatasetRows(src, split), "hf", f"Dataset of {len(src)} rows", choice, split)
    if hasattr(src, "__len__") and hasattr(src, "__getitem__"):
        return _open(TorchRows(src), "hf", f"{type(src).__name__} of {len(src)} images", choice)
    raise ElixirError(f"cannot read samples from a {type(src).__name__}: give a path, or a dataset with a length")


def open_saved(folder: Path, choice: Choice) -> TableSource:
    """A folder written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`."""
    _refuse_links(folder)
    split, siblings, part = "train", None, folder
    if (listing := folder / "dataset_dict.json").exists():
        splits = _plain_names(read_json(listing, _SAVE_AGAIN).get("splits"), escape(str(listing)))
        split = _choose(splits, choice, str(folder))
        siblings = {name: folder / name for name in splits if name != split}
        for name, sibling in siblings.items():
            if not sibling.is_dir():
                raise ElixirError(f"{escape(str(listing))} lists the split {name!r}, which is not there; {_SAVE_AGAIN}")
        part = folder / split
    if siblings is None:
        state = folder / "state.json"
        (split,) = _plain_names([read_json(state, _SAVE_AGAIN).get("_split") or "train"], escape(str(state)))
    return _open(saved_rows(part, split), "hf", escape(str(folder)), choice, split, siblings)


def _refuse_links(folder: Path) -> None:
    """Those that lead out of the dataset, and those to folders, which may go round in circles."""
    root = Path(os.path.realpath(folder))
    for path in root.rglob("*"):
        if path.is_symlink():
            target = Path(os.path.realpath(path))
            if target.is_dir() or not target.is_relative_to(root):
                what = "to a folder" if target.is_relative_to(root) else "that leaves the dataset"
                raise ElixirError(f"{escape(str(path))} is a link {what}; put what it points at in its place")


def saved_rows(folder: Path, split: str) -> ArrowRows:
    """The rows of a folder written by `Dataset.save_to_disk`; there may be none.

    Raises:
        ElixirError: it is damaged, names files elsewhere, or was written by a version of `datasets` that is too old.
    """
    file = folder / "state.json"
    state, name = read_json(file, _SAVE_AGAIN), escape(str(file))
    if state.get("_indices_data_files"):
        raise ElixirError(f"{name} has its rows in another order, as old versions of datasets did; {_SAVE_AGAIN}")
    listed = state.get("_data_files")
    if not listed or not isinstance(listed, list):
        raise ElixirError(f"{name} lists no data files; {_SAVE_AGAIN}")
    names = [entry.get("filename") if isinstance(entry, dict) else entry for entry in listed]
    return ArrowRows([folder / file for file in _plain_names(names, name)], split)


def named_folders(source: TableSource) -> set[Path]:
    """The folders of image files that a `datasets` or torch dataset does not hold but names."""
    if isinstance(source.rows, TorchRows):
        pairs = getattr(source.rows.dataset, "samples", None)
        paths = [pair[0] for pair in pairs if isinstance(pair, tuple)] if isinstance(pairs, list) else []
    elif isinstance(source.rows, DatasetRows) and _has_paths(source.rows, source.image):
        paths = [path for piece in source.rows.column(source.image, "path") for path in piece.to_pylist()]
    else:
        paths = []
    named = {os.path.dirname(path) for path in paths if isinstance(path, str)}  # noqa: PTH120 - there are many
    return {Path(folder) for folder in named if folder and Path(folder).is_dir()}


def places(part: Any) -> list[Path]:
    """The files and folders on disk that rows or a sibling (see `TableSource`) are read from."""
    if isinstance(part, Path):
        return [part]
    if isinstance(part, DatasetRows):
        part = part.dataset
    if isinstance(part, datasets.Dataset):
        return [Path(file["filename"]).parent for file in part.cache_files]
    return list(part if isinstance(part, list) else getattr(part, "files", []))


def open_parquet(files: list[Path], choice: Choice, location: str) -> TableSource:
    """Parquet files; if their names, or else those of their folders, tell several splits, those of one split."""
    splits: dict[str, list[Path]] = {}
    common = os.path.commonpath([file.parent for file in files])
    for file in files:
        folders = [_SPLIT.fullmatch(name.lower()) for name in file.parent.relative_to(common).parts]
        found = next(filter(None, (_SPLIT.search(file.stem.lower()), *folders)), None)
        splits.setdefault(found[1] if found else "train", []).append(file)
    split = next(iter(splits))
    if len(splits) > 1 or choice.split:
        split = _choose(list(splits), choice, location)
    chosen = splits.pop(split)
    for others in splits.values():  # they are going to be copied, and a link may lead to anything
        ParquetRows(others, [file.stem for file in others])
    stems = [escape(file.stem) for file in chosen]
    if len(set(stems)) < len(stems):
        common = os.path.commonpath([file.parent for file in chosen])
        stems = [escape(str(file.relative_to(common).with_suffix(""))) for file in chosen]
    return _open(ParquetRows(chosen, stems), "parquet", escape(location), choice, split, splits or None)


def open_hub(name: str, choice: Choice) -> TableSource:
    """A dataset on the Hugging Face hub, downloaded by `datasets`."""
    if "/" not in name:  # more often a mistake in the name of a folder
        log.warning("there is no %s here, so the Hugging Face hub is asked for it", name)
    try:
        found = datasets.load_dataset(name)
    except Exception as error:  # everything from a network failure to the dataset's own mistakes
        message = f"{name} is neither a path nor a dataset that can be loaded from the hub: {error}"
        raise ElixirError(f"{message}; check the spelling and the network") from error
    source = open_object(found, choice)
    for split, part in found.items():
        if stray := stray_file(DatasetRows(part, str(split))):
            where = "is a file of this machine and not of the dataset; do not use it"
            raise ElixirError(f"{name} names {escape(stray)!r} as one of its images, which {where}")
    source.location = f"{name} ({source.split})"
    return source


def _open(
    rows: Rows,
    kind: Literal["hf", "parquet"],
    location: str,
    choice: Choice,
    split: str = "train",
    siblings: dict[str, Any] | None = None,
) -> TableSource:
    if len(set(rows.schema.names)) < len(rows.schema.names):
        raise ElixirError(f"{location} has two columns of one name; rename one; {_listed(rows.schema)}")
    known = features(rows.schema)
    image = _image_column(rows.schema, known, choice.image, location)
    label = _label_column(rows.schema, known, choice.label, location)
    return TableSource(kind, location, rows, image, label, split, siblings)


def _image_column(schema: pa.Schema, known: datasets.Features, given: str | None, location: str) -> str:
    stored = [column.name for column in schema if _holds_images(column.type)]
    if given:
        if given not in stored:
            raise ElixirError(f"{location} has no column {given!r} with encoded images; {_listed(schema)}")
        return given
    typed = [name for name in stored if isinstance(known.get(name), datasets.Image)]
    structs = [name for name in stored if pa.types.is_struct(schema.field(name).type)]
    for candidates in (typed, structs, stored):
        named = [name for name in IMAGE_NAMES if name in candidates]
        if len(candidates) == 1 or named:
            return named[0] if named else candidates[0]
    raise ElixirError(f"cannot tell which column of {location} has the images; name it with --image; {_listed(schema)}")


def _label_column(schema: pa.Schema, known: datasets.Features, given: str | None, location: str) -> str:
    plain = [column.name for column in schema if holds_labels(column.type)]
    if given:
        if given not in plain:
            raise ElixirError(f"{location} has no column {given!r} of integers or strings; {_listed(schema)}")
        return given
    typed = [name for name in plain if isinstance(known.get(name), datasets.ClassLabel)]
    if len(typed) == 1:
        return typed[0]
    named = [name for name in LABEL_NAMES if name in (typed or plain)]
    if not named:
        raise ElixirError(
            f"cannot tell which column of {location} has the labels; name it with --label; {_listed(schema)}"
        )
    return named[0]


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_images(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def holds_labels(kind: pa.DataType) -> bool:
    """Whether a column of this type can be one of labels."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean)
    return any(test(kind) for test in tests)


def _listed(schema: pa.Schema) -> str:
    return "its columns: " + ", ".join(f"{column.name} ({str(column.type)[:40]})" for column in schema)


def _labels(rows: Rows, column: str) -> tuple[list[str], list[Any], np.ndarray]:
    """Class names, the value that stands for each, and int32 (n,) class indices, -1 for none."""
    feature = features(rows.schema).get(column)
    if isinstance(feature, datasets.ClassLabel) and feature.names:
        found = [np.asarray(piece.fill_null(-1).to_numpy(zero_copy_only=False)) for piece in rows.column(column)]
        labels = np.concatenate([*found, np.empty(0, np.int64)])
        labels[(labels < 0) | (labels >= len(feature.names))] = -1
        return [str(name) for name in feature.names], list(range(len(feature.names))), labels.astype(np.int32)
    pieces = [
        piece.cast(piece.type.value_type) if pa.types.is_dictionary(piece.type) else piece
        for piece in rows.column(column)
    ]
    stored = pa.chunked_array(pieces) if pieces else pa.chunked_array([], pa.string())
    values = sorted(value for value in stored.unique().to_pylist() if value is not None)
    positions = stored.combine_chunks().dictionary_encode()
    order = {value: index for index, value in enumerate(values)}
    lookup = np.array([order.get(value, -1) for value in positions.dictionary.to_pylist()] + [-1], np.int32)
    return (
        [str(value) for value in values],
        values,
        lookup[positions.indices.fill_null(-1).to_numpy(zero_copy_only=False)],
    )


def _about(rows: Rows) -> dict[str, str]:
    """What a dataset's own facts say of the whole: figures among them would not hold for the output."""
    facts: dict[str, Any] = {}
    if isinstance(rows, DatasetRows):
        facts = vars(rows.dataset.info)
    elif isinstance(rows, ArrowRows) and (file := rows.files[0].parent / "dataset_info.json").exists():
        facts = read_json(file, _SAVE_AGAIN)
    return {name: facts[name] for name in ABOUT if isinstance(facts.get(name), str)}


def _names(rows: Rows, image: str, labels: np.ndarray) -> pa.Array:
    """The base names of the original files, null where there is none or a class has it twice."""
    if not _has_paths(rows, image):
        return pa.nulls(len(labels), pa.string())
    seen = Counter((label, folded(name)) for label, name in zip(labels, _base_names(rows, image), strict=True) if name)
    pairs = zip(labels, _base_names(rows, image), strict=True)
    names = (name if name and seen[label, folded(name)] == 1 else None for label, name in pairs)
    return pa.array(names, pa.string())


def _has_paths(rows: Rows, image: str) -> bool:
    kind = rows.schema.field(image).type
    return pa.types.is_struct(kind) and kind.get_field_index("path") >= 0


def _base_names(rows: Rows, image: str) -> Iterator[str | None]:
    for piece in rows.column(image, "path"):
        for path in piece.to_pylist():
            base = path.partition("::")[0].rpartition("/")[2] if isinstance(path, str) else ""
            yield file_name(base) if base else None


def _plain_names(names: Any, place: str) -> list[str]:
    """The names of splits or files that a dataset gives, if they are plain ones: a path could lead anywhere."""
    if not isinstance(names, list):
        raise ElixirError(f"{place} holds no list of splits; {_SAVE_AGAIN}")
    for name in names:
        if not isinstance(name, str) or not name.isprintable() or file_name(name) != name:
            raise ElixirError(f"{place} has {str(name)[:80]!r} where the name of a file or folder should be; rename it")
    return names


def _choose(splits: list[str], choice: Choice, location: str) -> str:
    split = choice.split or (choice.usual if len(splits) != 1 else splits[0])
    if split not in splits:
        remedy = "name one with --split, or give it alone"
        raise ElixirError(f"{location} has no split {split!r} but {', '.join(splits)}; {remedy}")
    return split
