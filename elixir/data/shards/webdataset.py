"""WebDataset shards as source: tar archives in which the members of a sample lie side by side under one key."""

import glob
import os
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from elixir.data.files.folder import LARGEST_FILE
from elixir.data.files.tree import is_junk, looks_like_image
from elixir.data.image import FORMATS
from elixir.data.io import reading_again, reason
from elixir.data.paths import escape, file_name, printable
from elixir.data.shards.label_fields import NAMES_FILE, LabelField, find_label_field, number_labels, read_names
from elixir.data.shards.tar import TAR, Member, is_compressed, members, refuse_compressed_name, replaced
from elixir.data.sink import Decision
from elixir.data.source import Sample
from elixir.data.tables.parquet import SPLIT, files_by_name, stems
from elixir.data.tables.table import Choice, fingerprint
from elixir.errors import ElixirError, UnreadableSample

LARGEST_LABEL = 1 << 24  # bytes of a member with a label; more is not read

_DECODED = frozenset(ending for ending, format_ in Image.registered_extensions().items() if format_ in FORMATS)
_KEY = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")  # as webdataset has it: up to the first dot of the file name


@dataclass(slots=True)
class Group:
    """The members of one sample by their fields: what follows the key in their names, in lower case."""

    key: str
    fields: dict[str, Member] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes of a shard from `start` on, and those that take their place."""

    start: int
    length: int
    data: bytes


def read_groups(shard: Path) -> tuple[list[Group], list[str]]:
    """The samples of a shard in order, and the names of members that belong to none.

    Raises: ElixirError: see `members`; or a key or a field is there twice.
    """
    groups: list[Group] = []
    others: list[str] = []
    seen: set[str] = set()
    for member in members(shard):
        named = _KEY.fullmatch(member.name)
        if not named:
            others.append(member.name)
            continue
        key, name = named[1], named[2].lower()
        if not groups or groups[-1].key != key:
            if key in seen:
                where = f"{escape(str(shard))} has the key {printable(key)!r} again behind other samples"
                raise ElixirError(f"{where}; write it with all files of a sample side by side (tar --sort=name)")
            seen.add(key)
            groups.append(Group(key))
        if name in groups[-1].fields:
            where = f"{escape(str(shard))} has the field {printable(name)!r} of the key {printable(key)!r} twice"
            raise ElixirError(f"{where}; leave one out, or rename it")
        groups[-1].fields[name] = member
    return groups, others


def find_shards(folder: Path) -> list[Path]:
    """The .tar files in a folder and in its sub-folders "data" or named like splits.

    Raises: ElixirError: other sub-folders may be classes; or there are compressed archives with them, or those alone.
    """
    children = [child for child in sorted(folder.iterdir()) if not child.name.startswith(".")]
    folders = [child for child in children if child.is_dir()]
    found = sorted(path for place in (folder, *folders) for path in place.glob(f"*{TAR}") if path.is_file())
    shards = [path for path in found if not path.name.startswith(".")]
    filled = {path.parent for path in shards}
    others = [child for child in folders if not (child.name == "data" or SPLIT.fullmatch(child.name.lower()))]
    if shards and others:
        pattern = f"{glob.escape(str(shards[0].parent if len(filled) == 1 else folder))}/"
        pattern += f"*{TAR}" if len(filled) == 1 else f"**/*{TAR}"
        both = f"{TAR} files ({escape(shards[0].name)}) and folders that may be classes ({escape(others[0].name)})"
        remedy = f"give '{escape(pattern)}' for the shards, or folder:{escape(str(folder))} for the folders"
        raise ElixirError(f"{escape(str(folder))} has both {both}; {remedy}")
    compressed = [child for child in children if is_compressed(child)]
    if compressed and (shards or compressed == children):
        refuse_compressed_name(compressed[0])
    return shards


def open_webdataset(files: list[Path], choice: Choice, location: str) -> "WebDatasetSource":
    """Shards; if their names, or else those of their folders, tell several splits, those of one split."""
    whole = Path(location).is_dir()
    root = Path(location) if whole else Path(os.path.commonpath([file.parent for file in files]))
    siblings = files_by_name(files, root)
    split = next(iter(siblings)) if len(siblings) == 1 and not choice.split else choice.split_of([*siblings], location)
    chosen = siblings.pop(split)
    for file in (file for others in siblings.values() for file in others):
        for _ in members(file):  # they are going to be copied, and a link may lead to anything
            pass
    places = {file.parent for file in files} | ({root} if whole else set())
    beside = sorted(path for place in places for path in place.iterdir() if path.is_file() and path not in files)
    beside = [path for path in beside if whole or path.name == NAMES_FILE]
    return WebDatasetSource(chosen, choice, escape(location), root, split, siblings, beside)


class WebDatasetSource:
    """WebDataset shards; a sample is what has a key, whether there is an image and a label or not.

    Attributes:
        files: the shards.
        stems: what they are called in the ids of samples.
        root: folder that everything is in.
        places: paths of the shards below the root.
        siblings: shards of the other splits, not to be touched.
        copies: those shards by their paths below the root.
        others: paths of other files below the root, escaped as ids are.
        image: fields of the images, of which every sample has one, as in "jpg;png".
        label: field of the labels, as in "cls" or "json:label".
        split: which one the shards are.
    """

    kind: Literal["webdataset"] = "webdataset"

    def __init__(
        self,
        files: list[Path],
        choice: Choice,
        location: str,
        root: Path,
        split: str,
        siblings: dict[str, list[Path]],
        beside: list[Path],
    ) -> None:
        self.files, self.stems, self.location, self.root = files, stems(files), location, root
        self.split, self.siblings = split, siblings
        self.places = [file.relative_to(root) for file in files]
        self.copies = {file.relative_to(root): file for others in siblings.values() for file in others}
        self.others = [escape(str(path.relative_to(root))) for path in beside]
        index = _Index(files, self.stems, choice, location)
        self._starts, self._images, self._image_fields = index.starts, index.images, index.image_fields
        self._label_field, self.label, self.image = index.label_field, str(index.label_field), ";".join(index.used)
        told = number_labels(index.labels, index.label_field, location, index.id)
        self.classes, self._values, labels = told.classes, told.values, told.indices.tolist()
        names = [path for path in beside if path.name == NAMES_FILE]
        if len(names) == 1 and type(told.values[0]) is int and told.values[-1] < len(listed := read_names(names[0])):
            labels = [label if label < 0 else told.values[label] for label in labels]
            self._values, self.classes = list(range(len(listed))), listed
        self.samples = [
            Sample(index.id(number), label, _name(key), None if size >= 0 else "no image is stored")
            for number, (key, label, (_, size)) in enumerate(zip(index.keys, labels, index.images, strict=True))
        ]
        self.notes = [*told.notes, *index.notes]
        if siblings:
            self.notes.append(f"of the splits {split}, {', '.join(siblings)}, {split} alone was looked at")
        if beside := [path for path in self.others if not is_junk(path.rpartition("/")[2]) and path != NAMES_FILE]:
            self.notes.append(f"kept beside the shards and not looked at: {_some(beside)}")
        self._groups: tuple[int, list[Group]] = (-1, [])

    def read(self, index: int) -> bytes:
        if problem := self.samples[index].problem:
            raise UnreadableSample(problem)
        offset, size = self._images[index]
        if size > LARGEST_FILE:
            raise UnreadableSample(f"{size:,} bytes are too many for an image")
        try:
            data = _bytes_at(self.files[self.shard_of(index)], offset, size)
        except OSError as error:
            raise UnreadableSample(reason(error)) from error
        if len(data) < size:
            raise UnreadableSample("the shard is shorter now")
        return data

    def fingerprint(self) -> str:
        """See `Source.fingerprint`: from the names, sizes and modification times of the shards."""
        return fingerprint(self.files)

    def shard_of(self, index: int) -> int:
        """The number of the shard in which a sample is."""
        return bisect_right(self._starts, index) - 1

    def rows_of(self, shard: int) -> range:
        """The samples that are in a shard."""
        return range(self._starts[shard], self._starts[shard + 1])

    def image_at(self, index: int) -> tuple[int, int]:
        """Where the image of a sample is in its shard, and its size."""
        return self._images[index]

    def edits(self, index: int, decision: Decision) -> list[Edit]:
        """How a decision changes the shard of a sample, in ascending order; fastest for samples in ascending order."""
        if decision.action == "kept":
            return []
        sample, shard = self.samples[index], self.shard_of(index)
        group = self._group(index)
        new: dict[str, bytes] = {}
        with reading_again(sample.id):
            if decision.written and decision.label != sample.label:
                old = group.fields[self._label_field.name]
                data = _bytes_at(self.files[shard], old.data, old.size)
                new[self._label_field.name] = self._label_field.with_value(data, self._values[decision.label])
            if decision.written and decision.data is not None:
                new[self._image_fields[index]] = decision.data
            edits = []
            for name, member in group.fields.items():
                if name in new:
                    header = _bytes_at(self.files[shard], member.start, member.data - member.start)
                    edits.append(Edit(member.start, member.end - member.start, replaced(header, new[name])))
                elif not decision.written:
                    edits.append(Edit(member.start, member.end - member.start, b""))
        return edits

    def _group(self, index: int) -> Group:
        shard = self.shard_of(index)
        if self._groups[0] != shard:
            groups, _ = read_groups(self.files[shard])
            if len(groups) != len(self.rows_of(shard)):
                raise ElixirError(f"{escape(str(self.files[shard]))} has changed since it was opened; run again")
            self._groups = shard, groups
        return self._groups[1][index - self._starts[shard]]


class _Index:
    """What is to be known of all samples, read shard by shard; of the members only the places of images are kept."""

    def __init__(self, files: list[Path], stems: list[str], choice: Choice, location: str) -> None:
        self.keys: list[str] = []
        self.labels: list[Any] = []
        self.images: list[tuple[int, int]] = []  # offset and size of each, size -1 for none
        self.image_fields: list[str] = []
        self._stems, self._named = stems, choice.image and choice.image.lower().split(";")
        self._looking: set[str] = set()  # fields that look like images
        self._others: list[str] = []
        found: LabelField | None = None
        counts: list[int] = []
        for file in files:
            groups, others = read_groups(file)
            self._others += others
            counts.append(len(groups))
            found = found or (_find_label_field(file, groups, choice.label, location) if groups else None)
            if found:
                self._add(file, groups, found)
        if not found:
            raise ElixirError(f"{location} holds no samples, files such as 0001.jpg and 0001.cls; is it a WebDataset?")
        self.label_field = found
        self.starts = list(accumulate(counts, initial=0))
        self._pass_over_other_ranks()
        self.used = sorted(set(self.image_fields) - {""})
        if not self.used:
            remedy = "name the field of the images with --image"
            raise ElixirError(f"{location} has no member that is an image by its name; {remedy}")

    def id(self, number: int) -> str:
        """The id of a sample."""
        return f"{self._stems[bisect_right(self.starts, number) - 1]}/{escape(self.keys[number])}"

    @property
    def notes(self) -> list[str]:
        """What was not looked at."""
        notes = []
        if unseen := sorted(self._looking - set(self.used)):
            notes.append(f"images in other fields were not looked at: {_some(unseen)}")
        if self._others:
            notes.append(f"members without a key and a field were not looked at: {_some(self._others)}")
        return notes

    def _add(self, file: Path, groups: list[Group], label: LabelField) -> None:
        with file.open("rb") as opened:
            for group in groups:
                name = self._image_field(file, group)
                image = group.fields.get(name)
                self.keys.append(group.key)
                self.images.append((image.data, image.size) if image else (0, -1))
                self.image_fields.append(name)
                member = group.fields.get(label.name)
                if member and member.size <= LARGEST_LABEL:
                    opened.seek(member.data)
                    self.labels.append(label.value(opened.read(member.size)))
                else:
                    self.labels.append(None)

    def _pass_over_other_ranks(self) -> None:
        """Where samples have their images in "jpg", one that has only "seg.png" lacks its image."""
        best = min((_rank(name) for name in self.image_fields if name), default=0)
        for number, name in enumerate(self.image_fields):
            if name and not self._named and _rank(name) > best:
                self.images[number], self.image_fields[number] = (0, -1), ""

    def _image_field(self, file: Path, group: Group) -> str:
        """Which member of a sample is the image, "" for none."""
        images = [name for name in group.fields if looks_like_image(f"x.{name}")]
        self._looking.update(images)
        if self._named:
            found = [name for name in group.fields if name in self._named]
        else:
            best = min(map(_rank, images), default=0)
            found = [name for name in images if _rank(name) == best]
        if len(found) > 1:
            where = f"{escape(str(file))} has images in {printable(' and '.join(found))} for the key"
            raise ElixirError(f"{where} {printable(group.key)!r}; name the one that is meant with --image")
        return found[0] if found else ""


def _rank(name: str) -> int:
    """Lowest for a field that holds the image rather than others: "jpg", then "seg.png", then what is not decoded."""
    return 2 if f".{name.rpartition('.')[2]}" not in _DECODED else int("." in name)


def _find_label_field(file: Path, groups: list[Group], given: str | None, location: str) -> LabelField:
    fields = {name: member for group in reversed(groups) for name, member in group.fields.items()}  # the first of each
    return find_label_field(
        given, fields, lambda name: _bytes_at(file, fields[name].data, min(fields[name].size, LARGEST_LABEL)), location
    )


def _bytes_at(file: Path, offset: int, size: int) -> bytes:
    with file.open("rb") as opened:
        opened.seek(offset)
        return opened.read(size)


def _name(key: str) -> str:
    """The last part of a key as a file name."""
    return file_name(escape(key.rpartition("/")[2] or key))


def _some(names: Iterable[str]) -> str:
    names = [escape(name) for name in names]
    return printable(", ".join(names[:5])) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
