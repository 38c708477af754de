"""Some samples of a dataset as a dataset of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from elixir.data.image import decode
from elixir.data.paths import recorded
from elixir.data.source import Kind, Sample, Source
from elixir.errors import ElixirError, UnreadableSample


class Subset:
    """A source to be scanned; nothing can be written like it.

    Args:
        whole: the dataset.
        rows: which samples of it, ascending.
    """

    def __init__(self, whole: Source, rows: Sequence[int]) -> None:
        self._whole, self._rows = whole, list(rows)
        self._samples = [whole.samples[row] for row in rows]

    @property
    def kind(self) -> Kind:
        """That of the whole."""
        return self._whole.kind

    @property
    def location(self) -> str:
        """For people."""
        return f"{len(self._rows)} samples of {recorded(self._whole.location)}"

    @property
    def classes(self) -> list[str]:
        """Those of the whole; some may have no samples here."""
        return self._whole.classes

    @property
    def samples(self) -> Sequence[Sample]:
        """The chosen ones, with their ids in the whole."""
        return self._samples

    def read(self, index: int) -> bytes:
        """See `Source.read`."""
        return self._whole.read(self._rows[index])

    def fingerprint(self) -> str:
        """Of the whole and the choice."""
        return hashlib.sha256(f"{self._whole.fingerprint()} {self._rows}".encode()).hexdigest()


def evenly_spread(source: Source, count: int) -> tuple[Subset, int, str]:
    """Every k-th labelled image that can be read.

    Args:
        source: the dataset.
        count: of images; all where there are fewer.

    Returns:
        The images, how many of those chosen cannot be read, and a digest of ids, labels and bytes.

    Raises:
        ElixirError: there is no readable, labelled image.
    """
    labelled = [row for row, sample in enumerate(source.samples) if sample.label >= 0 and not sample.problem]
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
