"""What new images show beside a finished run: see `elixir.against`."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from elixir.data.manifest import class_names, counts
from elixir.data.paths import printable
from elixir.data.source import describe_classes
from elixir.statistics import binomial_lower

CONFIDENCE = 0.95  # that more was found than clean images explain
SHOWN = 10  # images that the summary names
NOT_JUDGED = "not judged: "
NO_LABELS = "the images were read without labels: only triggers were looked for"
NOT_TOLD = "not told: whether there is a new attack or another trigger; for that scan old and new images as one set"


@dataclass(frozen=True)
class Alarms:
    """What came of one test.

    Attributes:
        judged: images that it was made of.
        found: images that it names.
        expected: how many it would name, on average and at most, if all of them were clean.
    """

    judged: int
    found: int
    expected: float

    @property
    def beyond_chance(self) -> bool:
        """Whether clean images hardly explain so many."""
        share = binomial_lower(self.found, self.judged, 1 - CONFIDENCE)
        return share * self.judged > self.expected

    def described(self) -> str:
        """For people."""
        return f"{self.found} of {self.judged} images (of as many clean ones {self.expected:.1f} at most, on average)"


@dataclass(frozen=True)
class KnownTrigger:
    """What came of the search for the trigger of one label.

    Attributes:
        name: of the label.
        alarms: of the new images.
        known: samples of this label that the finished run has changed or set aside.
        known_found: how many of these the search names; the trigger was estimated from them.
    """

    name: str
    alarms: Alarms
    known: int
    known_found: int


@dataclass(frozen=True)
class NewData:
    """New images beside a finished run.

    Attributes:
        path: where the findings lie; None where they were not kept.
        against: the finished run.
        table: columns as those of `Result.table`, with the action "none" in every row. `flagged` is what a test names,
            as `reason` says, and `new_label` what the clean model then reads; `poison_score` is 1 minus the least
            p-value of a trigger, NaN where none is known. Classes that the run does not know come last.
        triggers: one for every label that was under attack.
        labels: of all tests whether the clean model denies a label.
        seconds: that it took.
        notes: sentences for people, see `Source.notes`.
    """

    path: Path | None
    against: str
    table: pa.Table
    triggers: list[KnownTrigger]
    labels: Alarms
    seconds: float
    notes: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> Literal["known trigger", "labels denied", "nothing known"]:
        """What was found more often than in clean images; "nothing known" does not say that these are clean."""
        if any(trigger.alarms.beyond_chance for trigger in self.triggers):
            return "known trigger"
        return "labels denied" if self.labels.beyond_chance else "nothing known"

    @property
    def flagged(self) -> dict[str, str]:
        """Why a test names an image, by id."""
        named = self.table.filter(pc.field("flagged"))
        return dict(zip(named.column("id").to_pylist(), named.column("reason").to_pylist(), strict=True))

    @property
    def not_judged(self) -> dict[str, int]:
        """How many images were not judged, or their labels were not, by reason."""
        reasons = counts(self.table["reason"])
        return {each.removeprefix(NOT_JUDGED): reasons[each] for each in reasons if each.startswith(NOT_JUDGED)}

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "path": None if self.path is None else str(self.path),
            "against": self.against,
            "samples": self.table.num_rows,
            "outcome": self.outcome,
            "triggers": [asdict(trigger) for trigger in self.triggers],
            "labels": asdict(self.labels),
            "flagged": self.flagged,
            "not_judged": self.not_judged,
            "notes": self.notes,
            "seconds": round(self.seconds, 1),
        }

    def summary(self) -> str:
        """A few lines for people."""
        labels = self.table["label"].to_numpy()
        lines = [f"{self.table.num_rows} samples, judged by {printable(self.against)}"]
        if (labels >= 0).any():
            lines.append(describe_classes(class_names(self.table), labels))
        for trigger in self.triggers:
            recall = f"in {trigger.known_found} of the {trigger.known} poisoned samples of that run"
            lines.append(f"trigger of {printable(trigger.name)}: in {trigger.alarms.described()}, and {recall}")
        if not self.triggers:
            lines.append("triggers: none is known, as no label was under attack")
        lines.append(f"label denied: {self.labels.described()}" if self.labels.judged else "labels: none was judged")
        named = [f"{printable(id)}: {printable(reason)}" for id, reason in self.flagged.items()]
        lines += named[:SHOWN]
        if len(named) > SHOWN:
            everything = ".elixir/manifest.parquet" if self.path else "a folder (-o) or --json"
            lines.append(f"... and {len(named) - SHOWN} more, listed in {everything}")
        lines += [f"not judged: {count} samples: {printable(reason)}" for reason, count in self.not_judged.items()]
        lines += [NOT_TOLD, *(f"note: {printable(note)}" for note in self.notes)]
        return "\n".join(lines) + "\n"
