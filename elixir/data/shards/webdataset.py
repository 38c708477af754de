"""WebDataset shards as a source."""

import glob
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from elixir.data.files.folder import LARGEST_FILE
from elixir.data.files.tree import is_junk
from elixir.data.io import reading_again, reason
from elixir.data.paths import escape, file_name
from elixir.data.shards.index import Group, Index, bytes_at, read_groups, some
from elixir.data.shards.label_fields import NAMES_FILE, number_labels, read_names
from elixir.data.shards.tar import TAR, is_compressed, members, refuse_compressed_name, replaced
from elixir.data.sink import Decision
from elixir.data.source import Samples
from elixir.data.tables.parquet import SPLIT, files_by_name, stems
from elixir.data.tables.table import Choice, fingerprint
from elixir.errors import ElixirError, UnreadableSample


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes of a shard from `start` on, and those that take their place."""

    start: int
    length: int
    data: bytes


def find_shards(folder: Path) -> list[Path]:
    """The .tar files in a folder and in its sub-folders "data" or named like splits.

    Raises: ElixirError: other sub-folders may be classes; or there are compressed archives with them, or those alone.
    """
    children = [child for child in sorted(folder.iterdir()) if not child.name.startswith(".")]
    folders = [child for child in children if child.is_dir()]
    found = sorted(path for place in (folder, *folders) for path in place.glob(f"*{TAR}") if path.is_file())
    shards = [path for path in found if not path.name.startswith(".")]
    filled = {path.parent for path in shards}
    parts = {child for child in filled & {*folders} if child.name == "data" or SPLIT.fullmatch(child.name.lower())}
    nested = [child for part in sorted(parts) for child in sorted(part.iterdir()) if child.is_dir()]
    others = [child for child in (*folders, *nested) if child not in parts]
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
    beside = sorted({path for place in places for path in place.iterdir() if path.is_file()} - {*files})
    beside = [path for path in beside if whole or path.name == NAMES_FILE]
    return WebDatasetSource(chosen, choice, escape(location), root, split, siblings, beside)


class ShardSamples(Samples):
    """The samples of shards, from what their index says and their labels (n,)."""

    def __init__(self, index: Index, labels: np.ndarray) -> None:
        missing = np.flatnonzero(index.images[:, 1] < 0).tolist()
        super().__init__(labels, dict.fromkeys(missing, "no image is stored"))
        self._index = index

    def id(self, index: int) -> str:
        return self._index.id(index)

    def name(self, index: int) -> str:
        key = self._index.key(index)
        return file_name(key.rpartition("/")[2] or key)


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
        self._index = index = Index(files, self.stems, choice, location)
        self._starts = index.starts
        self._label_field, self.label, self.image = index.label_field, str(index.label_field), ";".join(index.used)
        told = number_labels(index.labels, index.label_field, location, index.id)
        index.labels.clear()
        self.classes, self._values, labels = told.classes, told.values, told.indices
        names = [path for path in beside if path.name == NAMES_FILE]
        if len(names) == 1 and type(told.values[0]) is int and told.values[-1] < len(listed := read_names(names[0])):
            labels = np.array([*told.values, -1])[labels]
            self._values, self.classes = list(range(len(listed))), listed
        self.samples = ShardSamples(index, labels)
        self.notes = [*told.notes, *index.notes]
        if siblings:
            self.notes.append(f"of the splits {split}, {', '.join(siblings)}, {split} alone was looked at")
        if unseen := [path for path in self.others if not is_junk(path.rpartition("/")[2]) and path != NAMES_FILE]:
            self.notes.append(f"kept beside the shards and not looked at: {some(unseen)}")
        self._groups: tuple[int, list[Group]] = (-1, [])

    def read(self, index: int) -> bytes:
        if problem := self.samples.problems.get(index):
            raise UnreadableSample(problem)
        offset, size = self.image_at(index)
        if size > LARGEST_FILE:
            raise UnreadableSample(f"{size:,} bytes are too many for an image")
        try:
            data = bytes_at(self.files[self.shard_of(index)], offset, size)
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
        return self._index.shard_of(index)

    def rows_of(self, shard: int) -> range:
        """The samples that are in a shard."""
        return range(self._starts[shard], self._starts[shard + 1])

    def image_at(self, index: int) -> tuple[int, int]:
        """Where the image of a sample is in its shard, and its size."""
        offset, size, _ = self._index.images[index].tolist()
        return offset, size

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
                data = bytes_at(self.files[shard], old.data, old.size)
                new[self._label_field.name] = self._label_field.with_value(data, self._values[decision.label])
            if decision.written and decision.data is not None:
                new[self._index.image_field(index)] = decision.data
            edits = []
            for name, member in group.fields.items():
                if name in new:
                    header = bytes_at(self.files[shard], member.start, member.data - member.start)
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
