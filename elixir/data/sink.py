"""Where a cleaned dataset goes: a folder, a Hugging Face dataset or parquet files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from elixir.data.source import Kind, Source

Action = Literal["kept", "purified", "relabelled", "dropped", "quarantined", "none"]
"""What becomes of a sample; "none" of images that are only judged (see `elixir.new_data`)."""


@dataclass(frozen=True)
class Decision:
    """What becomes of one sample: a "kept", "purified" or "relabelled" one is in the output, the others are not.

    There, `label` is its class, an index into the source's classes, and `data` the new image as PNG, if pixels change.
    """

    action: Action
    label: int
    data: bytes | None = None

    @property
    def written(self) -> bool:
        """Whether the sample is in the output."""
        return is_written(self.action)


def is_written(action: str) -> bool:
    """Whether a sample that this has become of is in the output."""
    return action not in ("dropped", "quarantined")


class Sink:
    """Writes one kind of output: `write` for every sample that is in it, in ascending order, then `close`.

    Nothing is kept from an earlier, interrupted attempt: open again on a fresh folder and write everything. The bytes
    depend only on the source and the decisions.

    Attributes:
        outputs: for a table, stem of the row names and path below the folder, for each file or dataset folder.
        keeps_splits: whether other splits of the source are in the output too.
        whole_rows: whether an untouched sample that is a row is kept as it was, with all of its columns.
        notes: sentences for people, complete when closed: what else has changed, and what is not in the output.
    """

    kind: Kind
    outputs: list[tuple[str, str]]
    keeps_splits = False
    whole_rows = False

    def __init__(self, folder: Path, source: Source) -> None:
        self.folder = folder
        self.source = source
        self.notes: list[str] = []

    def write(self, index: int, decision: Decision) -> str:
        """Write one sample; its path below the folder, escaped as ids are, or "<split or file stem>/<8-digit row>"."""
        raise NotImplementedError

    def close(self) -> None:
        """Write what belongs to the whole dataset, if there is anything."""
