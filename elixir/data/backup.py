"""The backup in an output: originals of changed samples, quarantine, and what else it takes to rebuild the input."""

import base64
import hashlib
import json
import os
import shutil
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from elixir.data.files.beside import Beside, Fate
from elixir.data.files.folder import FileSource
from elixir.data.files.listed import ListSource
from elixir.data.files.placing import Placing
from elixir.data.io import RUN_FOLDER, copy, is_readable_file, reading_again, replace_text, write_table, writing
from elixir.data.paths import escape, unescape
from elixir.data.shards.tar import END, copy_bytes
from elixir.data.shards.webdataset import WebDatasetSource
from elixir.data.sink import Decision, Sink
from elixir.data.source import Source
from elixir.data.tables.parquet import ParquetSource, ParquetWriter, files_by_split, numbered
from elixir.data.tables.table import TableSource, with_image
from elixir.errors import ElixirError

ORIGINALS, QUARANTINE, COLUMNS = "originals", "quarantine", "columns"
PIECES, REST = "pieces", "rest"
FILES = ("folder", "list")
"""Kinds of which the samples are files."""
OUTPUT, SKIPPED, IMAGE = "output", "skipped", "image"
"""Where a piece of a WebDataset shard is, if not in a file of the backup (see `ShardBackup`)."""


def empty_output(folder: Path) -> None:
    """Prepare an output folder, without the backup of an earlier attempt; an ElixirError if it holds something else."""
    run = folder / RUN_FOLDER
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(child != run for child in folder.iterdir()):
            raise ElixirError(f"{escape(str(folder))} is not empty; give a folder that does not exist yet")
    with writing(run):
        run.mkdir(exist_ok=True)
        for name in (ORIGINALS, QUARANTINE, REST):
            shutil.rmtree(run / name, ignore_errors=True)


class SinkWithBackup:
    """Writes the decisions to a folder from `empty_output`, one call of `write` for every sample in ascending order.

    Changed samples are kept in `.elixir/originals` ("purified", "relabelled", "dropped") or `.elixir/quarantine`
    ("quarantined"): a file with the sample's id as its path, or for tables a row of `.elixir/originals.parquet` or
    `.elixir/quarantine.parquet`; for WebDataset shards, members in an archive of the same name in either folder.
    `.elixir/restore.json` holds the rest; `elixir.data.restore` reads it all.

    Attributes:
        unreadable_files: ids of samples, and paths of other files, whose bytes could not be read and so are not kept.
        notes: see `Sink`.
    """

    def __init__(self, folder: Path, source: Source, sink: Sink, placing: Placing) -> None:
        self._folder = folder
        self._source = source
        self._sink = sink
        self._fates: dict[str, Fate] = {}
        if isinstance(source, FileSource):
            self._backup: FileBackup | RowBackup | ShardBackup = FileBackup(folder, source, placing)
        elif isinstance(source, TableSource):
            self._backup = RowBackup(folder, source, columns=not sink.whole_rows)
        elif isinstance(source, WebDatasetSource):
            self._backup = ShardBackup(folder, source, spliced=sink.kind == source.kind)
        else:
            raise TypeError(f"{type(source).__name__} was not made by open_source")
        self.unreadable_files = self._backup.unreadable
        self.notes = sink.notes
        self._about_input = list(source.notes)
        if placing.link:
            what = f"untouched files are {placing.link} links to those of the input"
            self.notes.append(f"{what}: whoever writes into one changes both, and the input cannot be restored then")
        left_out = [] if sink.keeps_splits else list(getattr(source, "siblings", None) or ())
        if left_out:
            self.notes.append(f"not in the output: the splits {', '.join(left_out)}; --to hf keeps them too")
            self._about_input.append(self.notes[-1])

    def write(self, index: int, decision: Decision) -> str:
        """Write one sample and keep the original of a changed one; "" if it is not in the output, see `Sink.write`."""
        self._backup.keep(index, decision)
        output = self._sink.write(index, decision) if decision.written else ""
        if isinstance(self._source, FileSource) and self._sink.kind == self._source.kind:
            id, label = self._source.samples.id(index), int(self._source.samples.labels[index])
            if (output, decision.label) != (id, label):
                now = decision.label if output else -1
                self._fates[unescape(id)] = Fate(unescape(output) if output else None, now, now != label)
        return output

    def original(self, index: int, decision: Decision) -> str:
        """Escaped path below the folder of what keeps this sample's original; "" if untouched or unreadable."""
        return "" if decision.action == "kept" else self._backup.place(index, decision)

    def close(self) -> None:
        self._sink.close()
        self._backup.close(self._set_aside())
        facts = {"sink": self._sink.kind, "outputs": self._sink.outputs, "unreadable_files": self.unreadable_files}
        facts |= {"notes": self._about_input, "written": [] if self._sink.kind in FILES else self._files()}
        replace_text(self._folder / RUN_FOLDER / "restore.json", json.dumps(facts | self._backup.facts(), indent=1))

    def _files(self) -> list[str]:
        """Escaped paths of all files of the output."""
        top = self._folder
        found = (Path(place, name).relative_to(top) for place, _, names in os.walk(top) for name in names)
        return sorted(escape(str(path)) for path in found if path.parts[0] != RUN_FOLDER)

    def _set_aside(self) -> list[str]:
        """Those files beside the samples that are not in the output as they were."""
        if self._sink.kind != self._source.kind:
            others: list[str] = list(getattr(self._source, "others", ()))
            if others:
                self.notes.append(f"{len(others)} other files are not in the output but in {RUN_FOLDER}/{ORIGINALS}")
            return others
        if not isinstance(self._source, FileSource):
            return []
        beside = Beside(self._source, self._fates)
        beside.write(self._folder)
        self.notes += beside.notes
        return beside.set_aside


class FileBackup:
    """Originals of a folder, as files of the same path; a link that cannot be followed is kept as a link."""

    def __init__(self, folder: Path, source: FileSource, placing: Placing) -> None:
        self.run = folder / RUN_FOLDER
        self.source = source
        self.placing = placing
        self.linked: dict[str, str] = {}
        self.unreadable: list[str] = []

    def keep(self, index: int, decision: Decision) -> None:
        """Keep one sample as it was, if the decision changes it."""
        if decision.action == "kept":
            return
        sample, source = self.source.samples[index], self.source.path(index)
        target = self.run / kept_in(decision.action) / unescape(sample.id)
        if sample.problem and source.is_symlink():
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source.readlink())
        else:
            self.copy(sample.id, target)

    def copy(self, path: str, target: Path) -> None:
        """Copy any file of the source, given by its escaped path, or note that it cannot be read."""
        if source := self._readable(path):
            copy(source, target, self.run / "partial")

    def _readable(self, path: str) -> Path | None:
        source = self.source.root / unescape(path)
        if is_readable_file(source):
            return source
        self.unreadable.append(path)
        return None

    def place(self, index: int, decision: Decision) -> str:
        """The original of a changed sample; see `SinkWithBackup.original`."""
        id = self.source.samples.id(index)
        return "" if id in self.unreadable else f"{RUN_FOLDER}/{kept_in(decision.action)}/{id}"

    def close(self, set_aside: list[str]) -> None:
        """Put the files that are no samples into the output, or copies of those set aside to the originals."""
        self.set_aside = sorted(set_aside)
        aside = set(set_aside)
        for path in self.source.others:
            if path in aside:
                self.copy(path, self.run / ORIGINALS / unescape(path))
            elif source := self._readable(path):
                self.placing.put(source, self.run.parent / unescape(path))
                if self.placing.link:
                    with reading_again(path), source.open("rb") as file:
                        self.linked[path] = hashlib.file_digest(file, "sha256").hexdigest()

    def facts(self) -> dict[str, Any]:
        """What restoring needs to know, apart from the samples."""
        source = self.source
        return {
            "kind": source.kind,
            "folders": source.folders,
            "others": source.others,
            "set_aside": self.set_aside,
            "linked": self.linked if self.placing.link else None,
            "list": source.listed.place if isinstance(source, ListSource) and source.alone else None,
        }


class RowBackup:
    """Originals of a table, as numbered rows; with `columns` also untouched ones, without their images."""

    def __init__(self, folder: Path, source: TableSource, columns: bool) -> None:
        self.folder = folder
        self.source = source
        self.columns = columns
        self.unreadable: list[str] = []
        self._beside: dict[str, str] = {}
        schema = numbered(source.rows.schema)
        self._number = schema.names[-1]
        parts = (ORIGINALS, QUARANTINE, COLUMNS) if columns else (ORIGINALS, QUARANTINE)
        self._writers = {part: ParquetWriter(folder / RUN_FOLDER / f"{part}.parquet", schema) for part in parts}

    def keep(self, index: int, decision: Decision) -> None:
        if decision.action != "kept":
            self._add(kept_in(decision.action), index, self.source.rows.row(index))
        elif self.columns:
            self._add(COLUMNS, index, with_image(self.source.rows.row(index), self.source.image, None))

    def place(self, index: int, decision: Decision) -> str:
        return f"{RUN_FOLDER}/{kept_in(decision.action)}.parquet"

    def close(self, set_aside: list[str]) -> None:
        """Copy the files beside the table, those set aside or written anew by the sink to the originals."""
        for writer in self._writers.values():
            writer.close()
        if not isinstance(self.source, ParquetSource):
            return
        aside = set(set_aside)
        for path in self.source.others:
            target = self.folder / unescape(path)
            if path in aside or target.exists():
                target = self.folder / RUN_FOLDER / ORIGINALS / unescape(path)
            file = self.source.root / unescape(path)
            if not is_readable_file(file):
                self.unreadable.append(path)
                continue
            copy(file, target, self.folder / RUN_FOLDER / "partial")
            self._beside[path] = escape(str(target.relative_to(self.folder)))

    def facts(self) -> dict[str, Any]:
        source = self.source
        splits = {split: [str(path) for path in files] for split, files in files_by_split(source).items()}
        chosen, *copies = splits.values() or [[]]
        return {
            "kind": source.kind,
            "schema": base64.b64encode(source.rows.schema.serialize()).decode(),
            "image": source.image,
            "about": source.rows.about,
            "split": source.split,
            "siblings": None if source.siblings is None else list(source.siblings),
            "parts": source.rows.parts,
            "splits": splits,
            "files": chosen,
            "copies": [path for files in copies for path in files],
            "columns": self.columns,
            "beside": self._beside,
        }

    def _add(self, part: str, index: int, row: pa.Table) -> None:
        self._writers[part].add(row.append_column(self._number, [[index]]))


class ShardBackup:
    """Originals of WebDataset shards: archives of the members that decisions change or leave out.

    `.elixir/pieces.parquet` lists what each shard of the source is made of, in order: so many bytes of its archive in
    "originals" or "quarantine", or "output" for bytes of the shard that is written, in which some are "skipped". If no
    shards are written, it is "image" for the image of the next kept sample, and "rest" for `.elixir/rest/<shard>`.
    """

    whole = "webdataset"

    def __init__(self, folder: Path, source: WebDatasetSource, spliced: bool) -> None:
        self.source = source
        self.unreadable: list[str] = []
        self._run = folder / RUN_FOLDER
        self._spliced = spliced
        self._pieces: list[tuple[int, str, int]] = []
        self._digests: list[str] = []  # of the shards before the one that is open
        self._shard: BufferedReader | None = None
        self._parts: dict[str, BinaryIO] = {}

    def keep(self, index: int, decision: Decision) -> None:
        """Keep the members of a sample that the decision changes, as they were."""
        with writing(self._run):
            shard = self._open(self.source.shard_of(index))
            if decision.action == "kept" and not self._spliced:
                offset, size = self.source.image_at(index)
                self._keep_until(shard, offset)
                self._add(IMAGE, size)
                shard.seek(size, os.SEEK_CUR)
            for edit in self.source.edits(index, decision):
                self._keep_until(shard, edit.start)
                self._take(shard, kept_in(decision.action), edit.length)
                if self._spliced:
                    self._add(SKIPPED, len(edit.data))

    def place(self, index: int, decision: Decision) -> str:
        """The archive with the original of a changed sample; see `SinkWithBackup.original`."""
        place = self.source.places[self.source.shard_of(index)]
        return f"{RUN_FOLDER}/{kept_in(decision.action)}/{escape(str(place))}"

    def close(self, set_aside: list[str]) -> None:
        """Copy the files beside the shards to the output, or those set aside to the originals."""
        aside = set(set_aside)
        for path in self.source.others:
            folder = self._run / ORIGINALS if path in aside else self._run.parent
            copy(self.source.root / unescape(path), folder / unescape(path), self._run / "partial")
        with writing(self._run):
            self._finish(self._open(len(self.source.files) - 1))
        shards, origins, lengths = zip(*self._pieces, strict=True)
        table = pa.table({"shard": shards, "origin": origins, "length": lengths})
        write_table(self._run / f"{PIECES}.parquet", table)

    def facts(self) -> dict[str, Any]:
        """What restoring needs to know, apart from the samples and pieces."""
        places = [escape(str(place)) for place in self.source.places]
        copies = [escape(str(path)) for path in self.source.copies] if self._spliced else []
        shards = list(zip(places, self._digests, strict=True))
        fields = {"image": self.source.image, "label": self.source.label}
        others = {"copies": copies, "others": self.source.others}
        return {"kind": self.source.kind, "shards": shards, "fields": fields, **others}

    def _open(self, number: int) -> BufferedReader:
        """A shard, where it was left; those before it are finished."""
        while self._shard is None or len(self._digests) < number:
            if self._shard:
                self._finish(self._shard)
            self._shard = self.source.files[len(self._digests)].open("rb")
        return self._shard

    def _finish(self, shard: BufferedReader) -> None:
        self._keep_until(shard, os.fstat(shard.fileno()).st_size)
        shard.seek(0)
        self._digests.append(hashlib.file_digest(shard, "sha256").hexdigest())
        for part, file in self._parts.items():
            if part != REST:
                file.write(END)
            file.close()
        shard.close()
        self._shard, self._parts = None, {}

    def _keep_until(self, shard: BufferedReader, end: int) -> None:
        """Go on to a place in the shard; what lies before it is unchanged."""
        if self._spliced:
            self._add(OUTPUT, end - shard.tell())
            shard.seek(end)
        else:
            self._take(shard, REST, end - shard.tell())

    def _take(self, shard: BufferedReader, part: str, length: int) -> None:
        """Keep the next bytes of the shard."""
        if part not in self._parts:
            path = self._run / part / self.source.places[len(self._digests)]
            path.parent.mkdir(parents=True, exist_ok=True)
            self._parts[part] = path.open("wb")
        copy_bytes(shard, self._parts[part], length)
        self._add(part, length)

    def _add(self, origin: str, length: int) -> None:
        shard = len(self._digests)
        if self._pieces and self._pieces[-1][:2] == (shard, origin):
            length += self._pieces.pop()[2]
        if length:
            self._pieces.append((shard, origin, length))


def kept_in(action: str) -> str:
    """Where the originals of samples lie that this has become of."""
    return QUARANTINE if action == "quarantined" else ORIGINALS
