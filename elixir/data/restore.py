"""Rebuild the input of a run from its output."""

import base64
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat, starmap, zip_longest
from operator import ne
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from elixir.data.backup import COLUMNS, FILES, IMAGE, ORIGINALS, OUTPUT, PIECES, QUARANTINE, REST, SKIPPED, kept_in
from elixir.data.io import RUN_FOLDER, copy, map_table, read_json, read_table, real_path, writing
from elixir.data.labels_only import LABELS_ONLY, copy_input, open_again
from elixir.data.manifest import current_names, read_manifest, texts
from elixir.data.output_images import CHANGED, NumberedRows, image_reader, inside, output_rows
from elixir.data.overlap import refuse_overlap
from elixir.data.paths import escape, unescape
from elixir.data.shards.tar import copy_bytes
from elixir.data.tables.hf import ArrowWriter, write_siblings
from elixir.data.tables.parquet import writers_by_row
from elixir.data.tables.table import RowWriter, conform, with_image
from elixir.data.workdir import WorkDir
from elixir.errors import ElixirError

CHANGED_THROUGH_LINK = "its file in the input, which the output links to, was changed; make it what it was"
_MANIFEST = ("id", "action", "output", "sha256_in")


def restore(dst: Path, out: Path) -> int:
    """Rebuild what `dst` was made from, of the same kind: from its kept samples, originals and quarantine.

    Files come back byte for byte (for links inside the tree, their contents), rows of tables value by value in files of
    the same names, and what lay beside parquet files. Where those differed in the order or types of their columns, all
    get the order of the first and types that hold the values of all. Splits that were not copied to `dst` do not come
    back. Samples in `dst` may have become links since, as DVC and git-annex make them; other files may not, as nothing
    tells that they are the same, unless `sanitize` has made them links. `out` appears when everything is there.

    Where only labels were written, the input itself is copied, after it was found to have the same images.

    Returns how many samples were restored: all, but those whose bytes could not be read in the first place.

    Raises: ElixirError: `dst` is no such output, or was changed since (with the input, where it links to it); or `out`
        cannot be used, see `WorkDir`.
    """
    dst, out = real_path(dst), real_path(out)
    run, remedy = dst / RUN_FOLDER, "give what `elixir sanitize` has written"
    manifest = map_table(run / "manifest.parquet", remedy, list(_MANIFEST))
    facts = current_names(read_json(run / "restore.json", f"if {escape(str(dst))} is of a scan, {remedy}"))
    source = None
    if facts.get("sink") == LABELS_ONLY:
        with _understood(run):
            source = open_again(facts)
        refuse_overlap(source, out)
    if out.is_relative_to(dst):
        raise ElixirError(f"{escape(str(out))} is inside {escape(str(dst))}; restore to another place")
    work = WorkDir(out)
    with work.alone():
        work.prepare({})
        try:
            with _understood(run), writing(out):
                work.output.mkdir(parents=True)
                if source:
                    count = copy_input(source, read_manifest(run / "manifest.parquet"), work.output)
                else:
                    builders = {"folder": _Folder, "list": _Folder, "webdataset": _Shards}
                    builder = builders.get(facts["kind"], _Table)
                    count = builder(dst, work.output, facts, manifest).build()
            work.publish()
        finally:
            work.discard()
    return count


@contextmanager
def _understood(run: Path) -> Iterator[None]:
    """Turn what goes wrong inside where `restore.json` is not as it was written into an ElixirError."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
        file = escape(str(run / "restore.json"))
        raise ElixirError(f"{file} cannot be understood: {type(error).__name__}: {error}; {CHANGED}") from error


@dataclass
class _Builder:
    """Builds the input in `out` from the output `dst`."""

    dst: Path
    out: Path
    facts: dict[str, Any]
    manifest: pa.Table

    def samples(self) -> Iterator[tuple[str, str, str, str]]:
        return zip(*(texts(self.manifest[name]) for name in _MANIFEST), strict=True)

    def copy(self, source: Path, target: Path) -> None:
        _check_there(source)
        copy(source, target, self.out.with_name("partial"))

    def copy_unchecked(self, source: Path, path: str) -> None:
        """Copy a file that no digest tells, which must lie in the output, to a path in `out`."""
        _check_within(self.dst, source)
        self.copy(source, inside(self.out, path))


class _Folder(_Builder):
    """A class-per-folder tree, or images and a list of them."""

    def build(self) -> int:
        for path in self.facts["folders"]:
            inside(self.out, unescape(path)).mkdir(parents=True, exist_ok=True)
        image = None if self.facts["sink"] in FILES else image_reader(self.dst, self.facts, "image")
        unreadable = set(self.facts["unreadable_files"])
        linked = self.facts.get("linked")
        changed = CHANGED if linked is None else CHANGED_THROUGH_LINK
        links: dict[Path, Path] = {}
        count = 0
        for sample, action, output, digest in self.samples():
            target = inside(self.out, unescape(sample))
            folder = self.dst if action == "kept" else self.dst / RUN_FOLDER / kept_in(action)
            kept = inside(folder, unescape(output if action == "kept" else sample))
            if action == "kept" and image:
                target.write_bytes(image(output, digest))
            elif kept.is_symlink() and not digest:
                links[target] = kept.readlink()
            elif sample in unreadable:
                continue
            elif digest:
                self.copy(kept, target)
            else:
                self.copy_unchecked(kept, unescape(sample))
            if target not in links:
                _check(sample, target.read_bytes(), digest, changed)
            count += 1
        same_kind = self.facts["sink"] == self.facts["kind"]
        set_aside = set(self.facts.get("set_aside", () if same_kind else self.facts["others"]))
        for path in self.facts["others"]:
            if path in unreadable:
                continue
            rest = self.dst / RUN_FOLDER / ORIGINALS if path in set_aside else self.dst
            file, target = (inside(folder, unescape(path)) for folder in (rest, self.out))
            if linked and path in linked:
                self.copy(file, target)
                _check(path, target.read_bytes(), linked[path], changed)
            else:
                self.copy_unchecked(file, unescape(path))
        for target, to in links.items():  # last, so that nothing is written through a link
            target.symlink_to(to)
        return count


class _Table(_Builder):
    """A Hugging Face dataset or parquet files."""

    def build(self) -> int:
        image = self.facts["image"]
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.facts["schema"])))
        run = self.dst / RUN_FOLDER
        changed = {part: NumberedRows(run / f"{part}.parquet") for part in (ORIGINALS, QUARANTINE)}
        kept = self._kept_rows()
        ids = (f"{stem}/{row:08d}" for stem, count in self.facts["parts"] for row in range(count))
        if any(starmap(ne, zip_longest(ids, texts(self.manifest["id"])))):
            raise ElixirError(f"{run / 'manifest.parquet'} does not list the samples of the input; {CHANGED}")
        writers = self._writers(schema)
        for index, (sample, action, output, digest) in enumerate(self.samples()):
            row = kept(index, output, digest) if action == "kept" else changed[kept_in(action)].row(index)
            row = conform(row, schema, image)
            value = row.column(image)[0].as_py()
            _check(sample, value.get("bytes") if isinstance(value, dict) else value, digest)
            next(writers).add(row)
        for _ in writers:
            pass
        self._siblings()
        return self.manifest.num_rows

    def _kept_rows(self) -> Callable[[int, str, str], pa.Table]:
        """Gives the row of an untouched sample by its number, its place in the output and the digest of its image."""
        if not self.facts["columns"]:
            rows = output_rows(self.dst, self.facts)
            return lambda _, output, __: rows.row(output)
        image = self.facts["image"]
        data = image_reader(self.dst, self.facts, image)
        columns = NumberedRows(self.dst / RUN_FOLDER / f"{COLUMNS}.parquet")
        return lambda index, output, digest: with_image(columns.row(index), image, data(output, digest))

    def _writers(self, schema: pa.Schema) -> Iterator[RowWriter]:
        """The writer of each row, in order; exhaust it to finish the files."""
        if self.facts["kind"] == "hf":
            folder = self.out if self.facts["siblings"] is None else inside(self.out, self.facts["split"])
            writer: RowWriter = ArrowWriter(folder, schema, self.facts["split"], self.facts.get("about"))
            yield from repeat(writer, sum(count for _, count in self.facts["parts"]))
            writer.close()
            return
        files = zip(self.facts["parts"], self.facts["files"], strict=True)
        parts = ((stem, count, inside(self.out, file)) for (stem, count), file in files)
        yield from (writer for _, writer in writers_by_row(parts, schema))

    def _siblings(self) -> None:
        copied = self.facts["sink"] == self.facts["kind"]
        if self.facts["kind"] == "hf" and self.facts["siblings"] is not None:
            siblings = {name: inside(self.dst, name) for name in self.facts["siblings"] if copied}
            for place in siblings.values():
                _check_there(place)
                for path in (place, *place.rglob("*")):
                    _check_within(self.dst, path)
            write_siblings(self.out, self.facts["split"], siblings)
        for file in self.facts["copies"] if copied else ():
            self.copy_unchecked(inside(self.dst, file), file)
        for path, place in self.facts.get("beside", {}).items():  # 0.2 left these files out
            self.copy_unchecked(inside(self.dst, unescape(place)), unescape(path))


class _Shards(_Builder):
    """WebDataset shards, from pieces as `elixir.data.backup.ShardBackup` explains them."""

    def build(self) -> int:
        run = self.dst / RUN_FOLDER
        pieces = read_table(run / f"{PIECES}.parquet", CHANGED)
        images = self._images()
        for number, (path, digest) in enumerate(self.facts["shards"]):
            place = unescape(path)
            target = inside(self.out, place)
            target.parent.mkdir(parents=True, exist_ok=True)
            files = {OUTPUT: self.dst / place, **{part: run / part / place for part in (ORIGINALS, QUARANTINE, REST)}}
            at = dict.fromkeys(files, 0)
            with target.open("w+b") as shard:
                for piece in pieces.filter(pc.field("shard") == number).to_pylist():
                    origin, length = piece["origin"], piece["length"]
                    if origin == IMAGE:
                        shard.write(next(images, b""))
                        continue
                    if origin != SKIPPED:
                        _check_there(files[origin])
                        with files[origin].open("rb") as file:
                            file.seek(at[origin])
                            copy_bytes(file, shard, length)
                    at[OUTPUT if origin == SKIPPED else origin] += length
                shard.seek(0)
                if hashlib.file_digest(shard, "sha256").hexdigest() != digest:
                    raise ElixirError(f"{path} is not what it was in the input; {CHANGED}")
        rest = self.dst if self.facts["sink"] == "webdataset" else run / ORIGINALS
        for folder, paths in ((self.dst, self.facts["copies"]), (rest, self.facts["others"])):
            for path in map(unescape, paths):
                self.copy_unchecked(inside(folder, path), path)
        return self.manifest.num_rows

    def _images(self) -> Iterator[bytes]:
        """Those of untouched samples, in order."""
        read = image_reader(self.dst, self.facts, "image")
        for sample, action, output, digest in self.samples():
            if action == "kept":
                data = read(output, digest)
                _check(sample, data, digest)
                yield data


def _check_there(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        gone = escape(str(path.readlink()))
        raise ElixirError(f"{escape(str(path))} is a link to {gone}, which has moved or gone; put it back there")
    if not path.exists():
        raise ElixirError(f"{escape(str(path))} is missing; {CHANGED}")


def _check_within(dst: Path, path: Path) -> None:
    """That what is read there, and cannot be told by a digest, lies in the output, whatever is a link."""
    if not Path(os.path.realpath(path)).is_relative_to(dst):
        remedy = "put the file itself there (dvc unprotect, git annex unlock)"
        raise ElixirError(f"{escape(str(path))} is a link that leaves {escape(str(dst))}; {remedy}")


def _check(id: str, data: bytes | None, digest: str | None, why: str = CHANGED) -> None:
    if digest and data is not None and hashlib.sha256(data).hexdigest() != digest:
        raise ElixirError(f"{id} is not what it was in the input; {why}")
