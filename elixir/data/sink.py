"""Where a cleaned dataset goes: a folder, a Hugging Face dataset or parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from elixir.data.decision import Decision
from elixir.data.folder_sink import FolderSink
from elixir.data.source import Kind, Source
from elixir.data.table_sink import HfSink, ParquetSink


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


def open_sink(kind: Kind, folder: Path, source: Source) -> Sink:
    """Start the output.

    Changed samples keep their original in `.elixir/originals` ("purified", "relabelled", "dropped") or
    `.elixir/quarantine` ("quarantined"): a file with the sample's id as its path, or for tables a row of
    `.elixir/originals.parquet` or `.elixir/quarantine.parquet`. `.elixir/restore.json` holds what else is needed to
    rebuild the input.

    Args:
        kind: of the output.
        folder: holds nothing, or `.elixir` alone; originals and quarantine of an earlier attempt in there are removed.
        source: what the decisions are about, from `open_source`.

    Raises:
        ElixirError: the folder is not empty or cannot be written.
    """
    return {"folder": FolderSink, "hf": HfSink, "parquet": ParquetSink}[kind](folder, source)
