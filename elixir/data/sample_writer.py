"""Writes samples after all that was decided about them, by Elixir and by people, and tells what became of each."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from elixir.data.backup import SinkWithBackup
from elixir.data.decisions import HumanDecision
from elixir.data.io import RUN_FOLDER, replacing
from elixir.data.manifest import ManifestRow
from elixir.data.sink import Action, Decision

CHANGES = ("relabelled", "purified")


def unused_picture(folder: Path, row: int) -> Path:
    """Where an output keeps the repaired picture of a row of the manifest that somebody has decided not to use."""
    return folder / RUN_FOLDER / "repaired" / f"{row:08d}.png"


@dataclass(frozen=True)
class SampleWriter:
    """Writes the samples of a source to an output, one call of `write` for each, in ascending order.

    Args:
        folder: of the output.
        classes: names of the labels.
        sink: None where no images are written.
        decisions: of people, by id of the sample.
    """

    folder: Path
    classes: list[str]
    sink: SinkWithBackup | None
    decisions: Mapping[str, HumanDecision]

    def write(self, index: int, proposed: ManifestRow, repaired: bytes | None) -> ManifestRow:
        """Write one sample, and give its row of the manifest.

        Args:
            index: of the sample.
            proposed: the row, with the action, reason and new label that hold if nobody has decided otherwise.
            repaired: picture without the trigger, as PNG, if there is one.
        """
        row = self._decided(proposed, repaired is not None)
        picture = repaired if row.action in CHANGES else None
        if not self.sink:
            return row
        label = row.new_label if row.written else row.label
        decision = Decision(row.action, label, picture)
        output, original = self.sink.write(index, decision), self.sink.original(index, decision)
        if repaired is not None and picture is None:
            self._keep_unused(index, repaired)
        digest = hashlib.sha256(picture).hexdigest() if picture else row.sha256_in
        return replace(row, output=output, original=original, sha256_out=digest if row.written else "")

    def _decided(self, row: ManifestRow, repaired: bool) -> ManifestRow:
        """The row after what somebody has decided; what cannot be read or has no label stays out of the output."""
        human = self.decisions.get(row.id)
        if not human or not (row.usable or human.decision == "drop"):
            return row
        label = self.classes.index(human.label) if human.decision == "relabel" else row.label
        action: Action = "dropped" if human.decision == "drop" else "kept"
        if human.decision == "relabel" and label != row.label:
            action = "relabelled"
        elif human.decision == "relabel" and repaired:
            action = "purified"
        return replace(
            row,
            action=action,
            new_label=-1 if action == "dropped" else label,
            reason=f"decided by {human.by}",
            decision=human.decision,
            decided_by=human.by,
            decided_at=human.at,
        )

    def _keep_unused(self, index: int, repaired: bytes) -> None:
        path = unused_picture(self.folder, index)
        with replacing(path, path.with_suffix(".partial")) as partial:
            path.parent.mkdir(exist_ok=True)
            partial.write_bytes(repaired)
