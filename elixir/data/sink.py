"""Where a cleaned dataset goes: a folder, a Hugging Face dataset or parquet files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


class Sink(Protocol):
    """Writes the decisions, one call of `write` for every sample in ascending order, then `close`.

    Nothing is kept from an earlier, interrupted attempt: open again on a fresh folder and write everything. The bytes
    depend only on the source and the decisions.

    Attributes:
        uncopied: ids of samples, and paths of other files, whose bytes could not be read and so are not kept.
    """

    uncopied: list[str]

    def write(self, index: int, decision: Decision) -> str:
        """Write one sample and keep the original of a changed one.

        Returns:
            Path below the folder, escaped as ids are, or "<split or file stem>/<8-digit row>"; "" if not written.

        Raises:
            ElixirError: the disk is full or read-only, or the source has changed under way.
        """
        ...

    def original(self, index: int, decision: Decision) -> str:
        """Path below the folder, escaped, of the file that keeps this sample's original.

        It is "" if the sample is untouched or could not be read.
        """
        ...

    def close(self) -> None:
        """Write what belongs to the whole dataset."""
        ...


Action = Literal["kept", "purified", "relabelled", "dropped", "quarantined"]


@dataclass(frozen=True)
class Decision:
    """What becomes of one sample.

    Attributes:
        action: a "kept", "purified" or "relabelled" sample is in the output, the others are not.
        label: its class there, an index into the source's classes.
        data: the new image as PNG, where its pixels change.
    """

    action: Action
    label: int
    data: bytes | None = None

    @property
    def written(self) -> bool:
        """Whether the sample is in the output."""
        return self.action not in ("dropped", "quarantined")
