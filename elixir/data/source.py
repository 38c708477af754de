"""What a labelled image dataset looks like to everything that reads it."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from elixir.data.image import decode
from elixir.data.paths import printable, recorded
from elixir.errors import ElixirError, UnreadableSample, nearest

Kind = Literal["folder", "list", "hf", "parquet", "webdataset"]
NAMES = 10  # of classes or labels that a line for people tells


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image, without its bytes. All text is valid UTF-8 (see `elixir.data.paths`).

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


class Samples(Sequence[Sample]):
    """The samples of a source, each made when it is asked for: a million objects would take a gigabyte.

    Attributes:
        labels: of all samples, int32 (n,), read-only; -1 for none.
        problems: what is wrong with some, by their numbers.
    """

    def __init__(self, labels: np.ndarray, problems: Mapping[int, str] | None = None) -> None:
        self.labels = labels.astype(np.int32)
        self.labels.setflags(write=False)
        self.problems = problems or {}

    def id(self, index: int) -> str:
        """The id of one sample, for 0 <= index < n."""
        raise NotImplementedError

    def name(self, index: int) -> str:
        """Its name, likewise."""
        raise NotImplementedError

    @property
    def ids(self) -> Iterator[str]:
        """The ids of all, in order."""
        return map(self.id, range(len(self)))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        return Sample(self.id(index), int(self.labels[index]), self.name(index), self.problems.get(index))


class SomeSamples(Samples):
    """Some samples of others, by their rows, int64 (n,)."""

    def __init__(self, whole: Samples, rows: np.ndarray) -> None:
        place = {row: place for place, row in enumerate(rows.tolist()) if row in whole.problems}
        super().__init__(whole.labels[rows], {place[row]: whole.problems[row] for row in place})
        self._whole, self._rows = whole, rows

    def id(self, index: int) -> str:
        return self._whole.id(int(self._rows[index]))

    def name(self, index: int) -> str:
        return self._whole.name(int(self._rows[index]))


class Source(Protocol):
    """A labelled image dataset that is read one sample at a time; fastest in ascending order.

    Attributes:
        location: where it is, for people.
    """

    location: str

    @property
    def kind(self) -> Kind:
        """Which kind of output keeps everything there is in it."""
        ...

    @property
    def classes(self) -> list[str]:
        """Names of the labels; a class may have no samples."""
        ...

    @property
    def samples(self) -> Samples:
        """All samples, in the same order in every run."""
        ...

    @property
    def image(self) -> str | None:
        """Column or field with the images, None where there are none such."""
        ...

    @property
    def label(self) -> str | None:
        """Likewise with the labels."""
        ...

    @property
    def split(self) -> str | None:
        """The part that is read of a dataset of several, or that a table is."""
        ...

    @property
    def notes(self) -> list[str]:
        """Sentences for people: what of the input was not looked at, and what was taken for granted."""
        ...

    def read(self, index: int) -> bytes:
        """The encoded image exactly as it is stored. Raises: UnreadableSample: with the reason."""
        ...

    def fingerprint(self) -> str:
        """Hexadecimal digest that changes with the input, from names, sizes and times rather than contents."""
        ...


def describe_classes(names: Sequence[str], labels: np.ndarray) -> str:
    """A line for people on the classes of a dataset: how many, what they are called, and how many samples each has.

    Args:
        names: of the classes.
        labels: of all samples, (n,), indices into the names, or -1 for none.
    """
    unlabelled, *sizes = np.bincount(labels + 1, minlength=len(names) + 1).tolist()
    least, most = min(sizes, default=0), max(sizes, default=0)
    each = f"{most} samples each" if least == most else f"{least} to {most} samples each"
    none = f"; {unlabelled} samples have no label" if unlabelled else ""
    return f"{len(names)} {'class' if len(names) == 1 else 'classes'}: {listed(names)} ({each}){none}"


def listed(names: Sequence[str], most: int = NAMES) -> str:
    """The first names, for people."""
    return ", ".join([*map(printable, names[:most]), *(["…"] if len(names) > most else [])])


class Subset:
    """Some samples of a dataset, by ascending rows, as a source to be scanned; nothing can be written like it."""

    def __init__(self, whole: Source, rows: Sequence[int]) -> None:
        self._whole, self._rows = whole, list(rows)
        self.kind: Kind = whole.kind
        self.location = f"{len(self._rows)} samples of {recorded(whole.location)}"
        self.classes = whole.classes
        self.image, self.label, self.split, self.notes = whole.image, whole.label, whole.split, whole.notes
        self.samples = SomeSamples(whole.samples, np.asarray(self._rows, np.int64))

    def read(self, index: int) -> bytes:
        return self._whole.read(self._rows[index])

    def fingerprint(self) -> str:
        """Of the whole and the choice."""
        return hashlib.sha256(f"{self._whole.fingerprint()} {self._rows}".encode()).hexdigest()


def evenly_spread(source: Source, count: int) -> tuple[Subset, int, str]:
    """Every k-th labelled image that can be read; all where there are fewer than `count`, and an ElixirError for none.

    Returns the images, how many of those chosen cannot be read, and a digest of ids, labels and bytes.
    """
    labelled = np.flatnonzero(source.samples.labels >= 0)
    labelled = labelled[~np.isin(labelled, list(source.samples.problems))].tolist()
    count = min(count, len(labelled))
    rows, digest = [], hashlib.sha256()
    for row in (labelled[place * len(labelled) // count] for place in range(count)):
        sample = source.samples[row]
        try:
            data = source.read(row)
            decode(data)
        except UnreadableSample:
            continue
        rows.append(row)
        digest.update(f"{sample.id}\0{sample.label}\0{len(data)}\0".encode("utf-8", "surrogateescape") + data)
    if not rows:
        raise ElixirError(f"{source.location} holds no readable, labelled image")
    return Subset(source, rows), count - len(rows), digest.hexdigest()


def class_number(classes: Sequence[str], name: str) -> int | None:
    """The label of a class, by its name or its number; None for no such class."""
    if name in classes:
        return classes.index(name)
    return int(name) if name.isdecimal() and int(name) < len(classes) else None


def find_class(source: Source, target: str) -> int:
    """The label of a class, by its name or its number. Raises: ElixirError: there is no such class."""
    found = class_number(source.classes, target)
    if found is not None:
        return found
    hint = nearest(target, source.classes, f"it has {', '.join(source.classes[:20])}")
    raise ElixirError(f"{source.location} has no class {target!r} to be the target; {hint}")
