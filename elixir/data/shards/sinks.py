"""WebDataset shards as output: those of the source with other members here and there, or new ones."""

import tarfile
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from elixir.data.image import extension
from elixir.data.io import RUN_FOLDER, copy, reading_again, replace_text, replacing, writing
from elixir.data.paths import escape, printable
from elixir.data.shards.label_fields import NAMES_FILE, TEXT_FIELD
from elixir.data.shards.tar import TAR, copy_bytes
from elixir.data.shards.webdataset import WebDatasetSource
from elixir.data.sink import Decision, Sink
from elixir.data.source import Source
from elixir.data.tables.table import TableSource

SHARD_SAMPLES = 10_000
SHARD_BYTES = 1 << 30  # of images, from which on a shard is followed by another

_LEFT_OUT = Decision("dropped", -1)


def webdataset_sink(folder: Path, source: Source) -> Sink:
    """Start an output of shards."""
    return EditedShards(folder, source) if isinstance(source, WebDatasetSource) else NewShards(folder, source)


class EditedShards(Sink):
    """Writes the shards of the source, in which only members are others or missing that a decision has changed.

    A repaired image keeps the name of its original, though it is PNG now: all samples must have the same fields, and
    decoders go by the content.
    """

    kind = "webdataset"
    keeps_splits = True

    def __init__(self, folder: Path, source: WebDatasetSource) -> None:
        super().__init__(folder, source)
        self._shards = source
        self.outputs = [(stem, escape(str(place))) for stem, place in zip(source.stems, source.places, strict=True)]
        self._partial = folder / RUN_FOLDER / "shard.partial"
        self._shard = 0  # that is being written
        self._sample = 0  # that comes next
        self._files: tuple[BinaryIO, BinaryIO] | None = None  # the shard and what becomes of it, if anything changes

    def write(self, index: int, decision: Decision) -> str:
        self._leave_out(index)
        self._edit(index, decision)
        self._sample = index + 1
        return self.source.samples[index].id

    def close(self) -> None:
        self._leave_out(len(self.source.samples))
        self._go_to(len(self._shards.files))
        for place, file in self._shards.copies.items():
            copy(file, self.folder / place, self._partial)

    def _leave_out(self, end: int) -> None:
        """Leave out the samples before this one that were not written."""
        for index in range(self._sample, end):
            self._edit(index, _LEFT_OUT)

    def _edit(self, index: int, decision: Decision) -> None:
        self._go_to(self._shards.shard_of(index))
        for edit in self._shards.edits(index, decision):
            with writing(self._target):
                if self._files is None:
                    self._files = self._shards.files[self._shard].open("rb"), self._partial.open("wb")
                source, target = self._files
                copy_bytes(source, target, edit.start - source.tell())
                source.seek(edit.length, 1)
                target.write(edit.data)

    def _go_to(self, shard: int) -> None:
        """Finish the shards before this one."""
        while self._shard < shard:
            file = self._shards.files[self._shard]
            if self._files is None:
                copy(file, self._target, self._partial)
            else:
                with replacing(self._target, self._partial), self._files[0] as source, self._files[1] as target:
                    self._target.parent.mkdir(parents=True, exist_ok=True)
                    copy_bytes(source, target, file.stat().st_size - source.tell())
            self._files = None
            self._shard += 1

    @property
    def _target(self) -> Path:
        return self.folder / self._shards.places[self._shard]


class NewShards(Sink):
    """Writes "train-000000.tar" and so on with "<8-digit row>.jpg" and ".cls", and the classes in `NAMES_FILE`.

    All images have the ending of the first one, as all samples must have the same fields and decoders go by the
    content. Headers tell nothing of the time and the user.
    """

    kind = "webdataset"

    def __init__(self, folder: Path, source: Source) -> None:
        super().__init__(folder, source)
        self.outputs = []
        self._split = source.split if isinstance(source, TableSource) else "train"
        self._partial = folder / RUN_FOLDER / "shard.partial"
        self._field = ""
        self._samples = self._bytes = 0
        self._archive: tarfile.TarFile | None = None
        names = source.rows.schema.names if isinstance(source, TableSource) else []
        if rest := [name for name in names if name not in (source.image, source.label)]:
            self.notes.append(f"the columns {printable(', '.join(rest))} are not in the shards")

    def write(self, index: int, decision: Decision) -> str:
        data = decision.data
        if data is None or not self._field:
            with reading_again(self.source.samples[index].id):
                original = self.source.read(index)
            data = original if data is None else data
            self._field = self._field or extension(original)
        if self._samples == SHARD_SAMPLES or self._bytes >= SHARD_BYTES:
            self._finish()
        with writing(self.folder):
            archive = self._archive = self._archive or self._start()
            for ending, content in ((self._field, data), (f".{TEXT_FIELD}", str(decision.label).encode())):
                member = tarfile.TarInfo(f"{index:08d}{ending}")
                member.size = len(content)
                archive.addfile(member, BytesIO(content))
        self._samples += 1
        self._bytes += len(data)
        return f"{self.outputs[-1][0]}/{index:08d}"

    def close(self) -> None:
        self._finish()
        replace_text(self.folder / NAMES_FILE, "".join(f"{printable(name)}\n" for name in self.source.classes))

    def _start(self) -> tarfile.TarFile:
        stem = f"{self._split}-{len(self.outputs):06d}"
        self.outputs.append((stem, f"{stem}{TAR}"))
        return tarfile.open(self._partial, "w", format=tarfile.USTAR_FORMAT)

    def _finish(self) -> None:
        if self._archive:
            with replacing(self.folder / self.outputs[-1][1], self._partial):
                self._archive.close()
        self._archive, self._samples, self._bytes = None, 0, 0
