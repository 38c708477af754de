"""What is in WebDataset shards: samples, that is members side by side under one key, with their images and labels."""

import re
import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from elixir.data.files.tree import looks_like_image
from elixir.data.image import FORMATS
from elixir.data.paths import escape, printable
from elixir.data.shards.label_fields import LabelField, find_label_field
from elixir.data.shards.tar import Member, members
from elixir.data.tables.table import Choice
from elixir.errors import ElixirError

LARGEST_LABEL = 1 << 24  # bytes of a member with a label; more is not read

_DECODED = frozenset(ending for ending, format_ in Image.registered_extensions().items() if format_ in FORMATS)
_KEY = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")  # as webdataset has it: up to the first dot of the file name


@dataclass(slots=True)
class Group:
    """The members of one sample by their fields: what follows the key in their names, in lower case."""

    key: str
    fields: dict[str, Member] = field(default_factory=dict)


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


class Index:
    """What is to be known of all samples, read shard by shard; of the members only the places of images are kept.

    Attributes:
        labels: what is read as the label of each sample, None for none; empty it when they are numbered.
        images: offset and size of each in its shard, size -1 for none, and a number for its field, int64 (n, 3).
        starts: number of the first sample of each shard, and that of all.
    """

    def __init__(self, files: list[Path], stems: list[str], choice: Choice, location: str) -> None:
        self.labels: list[Any] = []
        self._keys: list[pa.Array] = []  # of each shard, escaped
        self._fields = {"": 0}  # number of each field with images
        self._stems, self._named = stems, choice.image and choice.image.lower().split(";")
        self._looking: set[str] = set()  # fields that look like images
        self._others: list[str] = []
        found: LabelField | None = None
        counts: list[int] = []
        images = [np.empty((0, 3), np.int64)]
        for file in files:
            groups, others = read_groups(file)
            self._others += others
            counts.append(len(groups))
            found = found or (_find_label_field(file, groups, choice.label, location) if groups else None)
            self._keys.append(pa.array([escape(group.key) for group in groups], pa.large_string()))
            if found:
                images.append(np.array(self._add(file, groups, found), np.int64).reshape(-1, 3))
        if not found:
            raise ElixirError(f"{location} holds no samples, files such as 0001.jpg and 0001.cls; is it a WebDataset?")
        self.label_field = found
        self.starts = list(accumulate(counts, initial=0))
        self.images = self._without_other_ranks(np.concatenate(images))
        self.used = sorted(map(self._field, np.unique(self.images[self.images[:, 1] >= 0, 2]).tolist()))
        if not self.used:
            remedy = "name the field of the images with --image"
            raise ElixirError(f"{location} has no member that is an image by its name; {remedy}")

    def id(self, number: int) -> str:
        """The id of a sample."""
        return f"{self._stems[self.shard_of(number)]}/{self.key(number)}"

    def shard_of(self, number: int) -> int:
        """The number of the shard in which a sample is."""
        return bisect_right(self.starts, number) - 1

    def key(self, number: int) -> str:
        """The key of a sample, escaped as ids are."""
        shard = self.shard_of(number)
        return self._keys[shard][number - self.starts[shard]].as_py()

    def image_field(self, number: int) -> str:
        """The field with the image of a sample that has one."""
        return self._field(int(self.images[number, 2]))

    def _field(self, number: int) -> str:
        return list(self._fields)[number]

    @property
    def notes(self) -> list[str]:
        """What was not looked at."""
        notes = []
        if unseen := sorted(self._looking - set(self.used)):
            notes.append(f"images in other fields were not looked at: {some(unseen)}")
        if self._others:
            notes.append(f"members without a key and a field were not looked at: {some(self._others)}")
        return notes

    def _add(self, file: Path, groups: list[Group], label: LabelField) -> list[tuple[int, int, int]]:
        """Take the labels of a shard, and return where its images are."""
        places = []
        with file.open("rb") as opened:
            for group in groups:
                name = self._image_field(file, group)
                image = group.fields.get(name)
                field = self._fields.setdefault(name, len(self._fields))
                places.append((image.data, image.size, field) if image else (0, -1, field))
                member = group.fields.get(label.name)
                value = None
                if member and member.size <= LARGEST_LABEL:
                    opened.seek(member.data)
                    value = label.value(opened.read(member.size))
                self.labels.append(sys.intern(value) if isinstance(value, str) else value)
        return places

    def _without_other_ranks(self, images: np.ndarray) -> np.ndarray:
        """Where samples have their images in "jpg", one that has only "seg.png" lacks its image."""
        best = min((_rank(name) for name in self._fields if name), default=0)
        passed = [field for name, field in self._fields.items() if name and not self._named and _rank(name) > best]
        images[np.isin(images[:, 2], passed)] = (0, -1, 0)
        return images

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
        given, fields, lambda name: bytes_at(file, fields[name].data, min(fields[name].size, LARGEST_LABEL)), location
    )


def bytes_at(file: Path, offset: int, size: int) -> bytes:
    """Bytes of a file, fewer at its end."""
    with file.open("rb") as opened:
        opened.seek(offset)
        return opened.read(size)


def some(names: Sequence[str]) -> str:
    """Names from the file system for people."""
    return printable(", ".join(names[:5])) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
