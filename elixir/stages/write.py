"""Last stage: the cleaned dataset, and a manifest with a row for every input sample."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np

from elixir.data.backup import SinkWithBackup
from elixir.data.columns import Columns
from elixir.data.io import RUN_FOLDER, remove_folder
from elixir.data.labels_only import LABELS_FILE, write_labels
from elixir.data.manifest import SHARES_PATTERN, ManifestRow, read_manifest, write_manifest
from elixir.data.open import open_sink
from elixir.data.sample_writer import CHANGES, SampleWriter
from elixir.data.sink import Action, is_written
from elixir.detection.reports import label_reports
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.errors import ElixirError
from elixir.stages.index import SOURCE_COLUMNS, hexadecimal

TEXTS = ("source_problem", "action", "reason")
Texts = dict[str, dict[int, str]]


@dataclass
class WriteStage(ReduceStage):
    """Writes everything in ascending order of the source; done anew from the start after an interruption.

    Args:
        dataset: also write the images. Without them the manifest says what would become of every sample, though the
            trigger may turn out to stay in some.
        labels: instead of the images write `labels.csv`, which gives them new labels where they are. As none is
            repaired, poisoned samples with right labels are set aside.
    """

    name = "write"
    provides = ("unreadable_files", "notes")
    dataset: bool = True
    labels: bool = False

    def check(self) -> None:
        if self.dataset and self.labels:
            raise ElixirError("write.labels = true is for runs that write no images; set write.dataset = false")

    @property
    def requires(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*self._columns, "labels")  # the reports of the labels are written beside the dataset

    @property
    def _columns(self) -> tuple[str, ...]:
        decided = ("poison_score", "flagged", "new_label", "confidence", "action", "reason")
        return (*SOURCE_COLUMNS, *decided, *(("repaired", "repair_sigma") if self.dataset else ()))

    def reduce(self, run: Run) -> Columns:
        if run.output.exists():
            remove_folder(run.output)
        (run.output / RUN_FOLDER).mkdir(parents=True)
        sink = open_sink(run.to, run.output, run.source, run.shard_bytes, run.link) if self.dataset else None
        manifest = run.output / RUN_FOLDER / "manifest.parquet"
        write_manifest(manifest, self._rows(run, sink), run.classes)
        run.facts["notes"] = run.source.notes
        if self.labels:
            write_labels(run.output / LABELS_FILE, read_manifest(manifest))
            run.facts["notes"] = [*run.source.notes, f"the labels are in {LABELS_FILE}; no image was written"]
        if sink:
            sink.close()
            run.facts["unreadable_files"] = sink.unreadable_files
            run.facts["notes"] = [*run.source.notes, *sink.notes]
        return {}

    def _rows(self, run: Run, sink: SinkWithBackup | None) -> Iterator[ManifestRow]:
        """One row after the other; writes its sample on the way."""
        columns = {name: run[name] for name in self._columns if name not in TEXTS}
        texts = {name: _told(run[name]) for name in TEXTS}
        reports = label_reports(run.facts)
        not_judged = {report.label: report.not_judged for report in reports if report.not_judged}
        patterned = {index for report in reports for index in report.pattern}
        writer = SampleWriter(run.output, run.classes, sink, run.decisions)
        index = -1  # of the last usable sample
        for row, sample in enumerate(run.source.samples):
            usable, digest = bool(columns["source_usable"][row]), hexadecimal(columns["source_sha256"][row])
            index += usable
            repaired = None
            if usable:
                action, label, reason = self._decision(run, columns, texts, index)
                if "repaired" in columns and action in CHANGES:
                    repaired = run.repaired_path(index).read_bytes()
                if action == "kept" and not reason and index in patterned:
                    reason = SHARES_PATTERN
                elif action == "kept" and not reason and sample.label in not_judged:
                    reason = f"not judged: {not_judged[sample.label]}"
            else:
                action, label, reason = "quarantined", sample.label, texts["source_problem"][row]
            height, width = columns["source_shape"][row].tolist()
            proposed = ManifestRow(
                id=sample.id,
                name=sample.name,
                label=sample.label,
                new_label=label if is_written(action) else -1,
                output="",
                action=action,
                reason=reason,
                sha256_in=digest,
                sha256_out="",
                height=height,
                width=width,
                poison_score=float(columns["poison_score"][index]) if usable else float("nan"),
                flagged=usable and bool(columns["flagged"][index]),
                confidence=float(columns["confidence"][index]) if usable else float("nan"),
                seed=run.seed,
                original="",
            )
            written = writer.write(row, proposed, repaired)
            if sink and digest:
                run.read_source(row)  # last, so that what has been written is what was looked at
            yield written

    def _decision(self, run: Run, columns: Columns, texts: Texts, index: int) -> tuple[Action, int, str]:
        """What earlier stages have decided about a sample: its action and label, and why."""
        given, action, reason = int(run.labels[index]), texts["action"].get(index), texts["reason"].get(index, "")
        if action not in CHANGES:
            return cast(Action, action or "kept"), given, reason
        label = int(columns["new_label"][index])
        if self.labels and action == "purified":
            return "quarantined", given, "poisoned under its own label, which only a new picture could keep"
        if not self.dataset:
            return action, label, reason
        if not columns["repaired"][index]:
            return "quarantined", given, "poisoned, and the trigger could not be taken out"
        sigma = columns["repair_sigma"][index]
        if not np.isnan(sigma):
            reason += f"; purified at sigma {sigma:g}" if sigma else "; only the trigger is taken out"
        return action, label, reason


def _told(column: np.ndarray) -> dict[int, str]:
    """The texts of a column that are not empty; of a million samples most are."""
    return {index: column[index] for index in np.flatnonzero(column != "").tolist()}
