"""Writes a result again after what people have decided about its samples."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from elixir.data.backup import FILES
from elixir.data.carried import refuse_unknown, unusable
from elixir.data.decision_files import given_decisions
from elixir.data.decisions import HumanDecision, decisions_in, digest, merged
from elixir.data.files.folder import FileSource
from elixir.data.files.placing import Link
from elixir.data.io import RUN_FOLDER, copy, read_json, real_path, replace_text, writing
from elixir.data.manifest import class_names, manifest_rows, texts, write_manifest
from elixir.data.open import open_sink
from elixir.data.output_images import OutputImages
from elixir.data.paths import escape, printable, unescape
from elixir.data.reopen import reopen
from elixir.data.restore import restore
from elixir.data.sample_writer import SampleWriter, unused_picture
from elixir.data.source import Source
from elixir.data.workdir import WorkDir
from elixir.errors import ElixirError
from elixir.pages.for_people import write_for_people
from elixir.result import Result, read_result

CARRIED_OVER = ("labels.parquet", "timings.json", "models")
"""What the run has found out and no decision changes, beside its findings."""


def decide(dst: str | Path, decisions: str | Path | Iterable[HumanDecision], by: str | None = None) -> Result:
    """Write what `sanitize` has written again, after what people have decided about samples.

    "keep" gives a sample its bytes and label in the input, "relabel" the given label, with the repaired picture if
    Elixir has made one, and "drop" takes it out. A decision takes the place of an earlier one about the same sample;
    those about others stay. The new output takes the place of the old when it is complete, and `restore` gives the
    input back as before. What you have put into `dst` beside the samples stays there.

    Args:
        dst: what `sanitize` has written.
        decisions: a CSV file (see `elixir.data.decision_files.read_decisions`), or the decisions themselves.
        by: who has decided, where they do not say it; the user by default.

    Raises: ElixirError: `dst` holds no dataset or was changed since; or a decision is about no sample of it, about one
        that cannot be in it, or gives a label that it does not have. Nothing has changed then.
    """
    dst = real_path(dst)
    work = WorkDir(dst)
    if not ((dst / RUN_FOLDER).is_dir() or work.path.is_dir()):
        raise ElixirError(f"{escape(str(dst))} holds no result; give what `elixir sanitize` has written")
    with work.alone():
        result = read_result(dst)
        known = decisions_in(result.table)
        decided = merged(known, _checked(decisions, result.table), by)
        if result.labels_only or not (dst / RUN_FOLDER / "restore.json").exists():
            has, option = "is what a scan has found", ""
            if result.labels_only:
                has, option = "holds new labels only", " --labels-only"
            what = f"{escape(str(dst))} {has}, without a dataset"
            raise ElixirError(f"{what}; give the decisions to `elixir sanitize SRC -o DST --decisions FILE{option}`")
        if decided == known:
            return result
        work.refuse_interrupted()
        work.prepare({}, overwrite=True)
        try:
            _Rewriting(dst, work, result, decided).run()
            work.publish(overwrite=True)
        finally:
            work.discard()
        return read_result(dst)


def _checked(decisions: str | Path | Iterable[HumanDecision], table: pa.Table) -> list[HumanDecision]:
    """The decisions, if each is about a sample of the manifest and can be carried out."""
    found = given_decisions(decisions, class_names(table))
    unusable_rows = manifest_rows(table.filter(pc.field("height") == 0))
    aside = {row.id: row.reason for row in unusable_rows}
    refuse_unknown(found, {one.id for one in found}.intersection(texts(table["id"])))
    for one in found:
        if one.id in aside and one.decision != "drop":
            raise unusable(one.id, aside[one.id])
    return found


class _Rewriting:
    """Makes the output of a work folder from the result at `dst` and all decisions about it."""

    def __init__(self, dst: Path, work: WorkDir, result: Result, decisions: dict[str, HumanDecision]) -> None:
        self.dst, self.work, self.result, self.decisions = dst, work, result, decisions
        self.facts = read_json(dst / RUN_FOLDER / "restore.json", "give what `elixir sanitize` has written")
        self.evidence = work.output / RUN_FOLDER

    def run(self) -> None:
        config, table = self.result.config, self.result.table
        self._refuse_split_elsewhere()
        restore(self.dst, self.work.path / "input")
        source = reopen(self.work.path / "input", self.facts, config, table)
        pictures = _Pictures(self.dst, table, source)
        link = config.get("link")
        origins = self._origins(source, link) if link else None
        sink = open_sink(config["to"], self.work.output, source, config["shard_bytes"], link, origins)
        writer = SampleWriter(self.work.output, source.classes, sink, self.decisions)
        rows = (writer.write(row, each, pictures.after(row)) for row, each in enumerate(manifest_rows(table)))
        write_manifest(self.evidence / "manifest.parquet", rows, source.classes)
        sink.close()
        self._keep_other_files()
        self._carry_over([*source.notes, *sink.notes])
        self.work.sign(config | {"decisions": digest(self.decisions.values())})
        written = read_result(self.work.output, self.dst)
        write_for_people(written, self.work.output, pictures, self.result.triggers)

    def _origins(self, source: Source, link: Link) -> dict[Path, Path]:
        """The files of the output that lead to the input, by those of the rebuilt input, which is to be removed."""
        assert isinstance(source, FileSource)
        table = self.result.table.filter(pc.field("action") == "kept")
        samples = zip(table["id"].to_pylist(), table["output"].to_pylist(), strict=True)
        others = ((path, path) for path in self.facts["linked"] or ())
        paths = ((unescape(path), self.dst / unescape(output)) for path, output in (*samples, *others))
        return {source.root / path: file for path, file in paths if link == "hard" or file.is_symlink()}

    def _refuse_split_elsewhere(self) -> None:
        """Raise an ElixirError where the rebuilt input would lack splits that the output has."""
        kind, to = self.facts["kind"], self.facts["sink"]
        if kind != to and self.facts.get("siblings") and to in ("hf", "parquet"):
            what = f"{escape(str(self.dst))} holds other splits of an input of another kind ({kind})"
            raise ElixirError(f"{what}; sanitize it again with --decisions FILE")

    def _carry_over(self, notes: list[str]) -> None:
        before = self.dst / RUN_FOLDER
        with writing(self.evidence):
            for place in filter(Path.exists, (before / name for name in CARRIED_OVER)):
                copy_all = shutil.copytree if place.is_dir() else shutil.copyfile
                copy_all(place, self.evidence / place.name)
        findings = read_json(before / "findings.json", "give what `elixir sanitize` has written")
        replace_text(self.evidence / "findings.json", json.dumps(findings | {"notes": notes}, indent=2))

    def _keep_other_files(self) -> None:
        """Copy what is at the destination and is not of the run, such as a repository."""
        known = {*self.facts["written"], *self.facts.get("others", ()), *self.facts.get("beside", {}).values()}
        if self.facts["sink"] in FILES:
            known.update(texts(self.result.table["output"]))
        for path in _files_below(self.dst):
            if escape(path) in known:
                continue
            source, target = self.dst / path, self.work.output / path
            if os.path.lexists(target):
                what = f"{printable(escape(path))} in {escape(str(self.dst))} is not of the run"
                raise ElixirError(f"{what}, and a sample needs its name now; move it away")
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.is_symlink():
                    target.symlink_to(source.readlink())
            if not source.is_symlink():
                copy(source, target, self.work.path / "partial")


class _Pictures:
    """The images of a result; see `elixir.pages.thumbnails.Pictures`."""

    def __init__(self, dst: Path, table: pa.Table, source: Source) -> None:
        self._dst = dst
        self._source = source
        self._output = OutputImages(dst, table)

    def before(self, row: int) -> bytes:
        return self._source.read(row)

    def after(self, row: int) -> bytes | None:
        unused = unused_picture(self._dst, row)
        return unused.read_bytes() if unused.exists() else self._output.after(row)


def _files_below(folder: Path) -> Iterator[str]:
    """Paths of all files and links in a folder of a result, but for those of the run."""
    for place, folders, names in os.walk(folder):
        if Path(place) == folder:
            folders.remove(RUN_FOLDER)
        links = [name for name in folders if Path(place, name).is_symlink()]
        yield from (os.path.relpath(Path(place, name), folder) for name in (*names, *links))
