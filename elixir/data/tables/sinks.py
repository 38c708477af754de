"""Tables as output: Hugging Face datasets and parquet files, with all splits of the source."""

import re
from glob import escape as plain
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from elixir.data.io import RUN_FOLDER, copy, replacing
from elixir.data.paths import escape
from elixir.data.sink import Decision
from elixir.data.source import Source
from elixir.data.tables.card import CARD, INFOS, Card, corrected_infos
from elixir.data.tables.features import features
from elixir.data.tables.hf import ArrowWriter, DatasetRows, list_splits, saved_rows, write_siblings
from elixir.data.tables.parquet import (
    ParquetRows,
    ParquetSource,
    ShardWriter,
    files_by_split,
    split_by_name,
    usual_name,
    writers_by_row,
)
from elixir.data.tables.table import Rows, TableSink, TableSource, conform
from elixir.errors import ElixirError


class HfSink(TableSink):
    """Writes what `save_to_disk` writes.

    The other splits of a Hugging Face dataset are copied as they are, those of parquet files row by row.
    """

    kind = "hf"
    keeps_splits = True

    def __init__(self, folder: Path, source: Source) -> None:
        super().__init__(folder, source)
        self._siblings: dict[str, Any] | None = None
        self._split, about = "train", {}
        if isinstance(source, TableSource) and source.kind in ("hf", "parquet"):
            self._siblings, self._split, about = source.siblings, source.split, source.rows.about
        place = folder if self._siblings is None else folder / self._split
        self._writer = ArrowWriter(place, self.schema, self._split, about)
        self._others: list[tuple[Rows, ArrowWriter]] = []
        if source.kind == "parquet":
            for split, sibling in (self._siblings or {}).items():
                rows = _rows_of(split, sibling)
                self._others.append((rows, ArrowWriter(folder / split, self._stored(rows.schema), split)))
        self.outputs = [(self._split, "" if self._siblings is None else self._split)]

    def close(self) -> None:
        self._writer.close()
        if self._others:
            for rows, writer in self._others:
                _write_all(rows, writer, writer.schema, self.image)
                writer.close()
            list_splits(self.folder, [self._split, *(self._siblings or ())])
        elif self._siblings is not None:
            write_siblings(self.folder, self._split, self._siblings)

    def _add(self, index: int, row: pa.Table) -> str:
        self._writer.add(row)
        return f"{self._split}/{self._writer.count - 1:08d}"

    def _stored(self, schema: pa.Schema) -> pa.Schema:
        known = features(schema)
        if not known:
            what = f"{self.source.location} has a column of a type that a Hugging Face dataset cannot hold"
            raise ElixirError(f"{what}; use --to parquet or --to folder")
        if self.image not in known or isinstance(known[self.image], datasets.Image):
            return schema
        known[self.image] = datasets.Image()
        return known.arrow_schema


class ParquetSink(TableSink):
    """Writes a file for each parquet file of the source, or a single one; with `shard_bytes` as many as it takes.

    The other splits of parquet files are copied as they are, those of a Hugging Face dataset row by row. What the card
    of the source says of its splits and sizes is corrected where it does not hold any more (see `Card`).
    """

    kind = "parquet"
    keeps_splits = True

    def __init__(self, folder: Path, source: Source, shard_bytes: int | None = None) -> None:
        super().__init__(folder, source)
        self._split = source.split if isinstance(source, TableSource) else "train"
        self._shards: ShardWriter | None = None
        self._others: list[tuple[str, Rows, ShardWriter]] = []
        self._copies: dict[str, dict[Path, Path]] = {}
        self._count, self._changed = 0, False
        place = Path()
        if isinstance(source, ParquetSource):
            self._copies = files_by_split(source)
            chosen = self._copies.pop(source.split)
            place = next(iter(chosen)).parent
            if not shard_bytes:
                parts = [(*part, path) for part, path in zip(source.rows.parts, chosen, strict=True)]
                self.outputs = [(stem, str(path)) for stem, _, path in parts]
                files = ((stem, count, folder / path) for stem, count, path in parts)
                self._writers = enumerate(writers_by_row(files, self.schema))
                return
        elif isinstance(source, TableSource):
            for split, sibling in (source.siblings or {}).items():
                rows = _rows_of(split, sibling)
                self._others.append((split, rows, ShardWriter(folder, split, rows.schema, shard_bytes)))
        self._refuse_taken(place)
        self._shards = ShardWriter(folder / place, self._split, self.schema, shard_bytes)

    def write(self, index: int, decision: Decision) -> str:
        self._count += 1
        self._changed |= decision.action != "kept"
        return super().write(index, decision)

    def close(self) -> None:
        if self._shards:
            self._shards.close()
            self.outputs = [(path.stem, str(path.relative_to(self.folder))) for path in self._shards.paths]
        else:
            for _ in self._writers:
                pass
        for _, rows, writer in self._others:
            _write_all(rows, writer, rows.schema, self.image)
            writer.close()
        for files in self._copies.values():
            for path, file in files.items():
                copy(file, self.folder / path, self.folder / RUN_FOLDER / "partial")
        self._write_card()

    def _add(self, index: int, row: pa.Table) -> str:
        if self._shards:
            return self._shards.add(row)
        stem, writer = next(found for number, found in self._writers if number == index)
        writer.add(row)
        return f"{stem}/{writer.count - 1:08d}"

    def _refuse_taken(self, place: Path) -> None:
        """Raise an ElixirError if another file of the source has the name of a shard."""
        name = re.compile(rf"{re.escape(self._split)}-\d{{5}}\.parquet")
        kept = [path for files in self._copies.values() for path in files]
        if taken := [path for path in kept if path.parent == place and name.fullmatch(path.name)]:
            what = f"{escape(str(taken[0]))} of another split has the name of a shard"
            raise ElixirError(f"{what}; leave out --shard-size, or rename it")

    def _write_card(self) -> None:
        """The card of the source as it holds for the output, or one that tells the splits where no names do."""
        source = self.source if isinstance(self.source, ParquetSource) else None
        card = Card(source.root / CARD if source and CARD in source.others else self.folder / CARD)
        changed = self._changed or self._count < len(self.source.samples)
        rows = self._count if source and changed else None
        facts = card.corrected(usual_name(self._split), rows, self._patterns(card))
        if facts != card.facts:
            card.write(facts, self.folder / CARD)
            if source and CARD in source.others:
                self.notes.append(f"{CARD} tells other sizes or files now; the original is in .elixir/originals")
        if source and rows is not None and INFOS in source.others:
            new = corrected_infos((source.root / INFOS).read_bytes(), usual_name(self._split), rows)
            if new:
                with replacing(self.folder / INFOS, self.folder / f"{INFOS}.partial") as partial:
                    partial.write_bytes(new)

    def _patterns(self, card: Card) -> dict[str, list[str]] | None:
        """What the card has to say of the files; None where it says so already, or their names do."""
        if not self._shards:
            return None
        files = {self._split: [path for _, path in self.outputs]}
        files |= {split: list(map(str, paths)) for split, paths in self._copies.items()}
        files |= {split: [path.name for path in writer.paths] for split, _, writer in self._others}
        if (told := card.tells(files)) is None:
            by_name = all(split_by_name(path) == split for split, paths in files.items() for path in paths)
            told = by_name and len(set(map(usual_name, files))) == len(files)
        return None if told else {split: [plain(path) for path in paths] for split, paths in files.items()}


def _rows_of(split: str, sibling: Any) -> Rows:
    """The rows of another split; see `TableSource.siblings`."""
    if isinstance(sibling, Path):
        return saved_rows(sibling, split)
    if isinstance(sibling, datasets.Dataset):
        return DatasetRows(sibling, split)
    return ParquetRows(sibling, [file.stem for file in sibling])


def _write_all(rows: Rows, writer: ArrowWriter | ShardWriter, schema: pa.Schema, image: str) -> None:
    for index in range(sum(count for _, count in rows.parts)):
        writer.add(conform(rows.row(index), schema, image))
