"""Some samples of a dataset as a dataset of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from elixir.data.source import Kind, Sample, Source


class Part:
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
        return f"{len(self._rows)} samples of {self._whole.location}"

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
