"""What was found out about each label."""

from dataclasses import dataclass, field
from typing import Any, Literal

from elixir.detection.alarm_rate import Kind


@dataclass(frozen=True)
class LabelTest:
    """One detector's group of one label, and what a test says of it.

    Attributes:
        detector: one of `elixir.detection.detectors`; or "seed", "expanded", "noise_sensitivity" (see `confirm`).
        kind: "direct", the detector's own score; "holdout", the mislabeled fraction by a held-out model; or
            "discrepancy", the paper's test (see `elixir.detection.discrepancy`).
        score: in [0,1].
        passed: whether it is enough to put the label under attack, by itself or, of a group that a held-out model has
            not seen, with what the direct tests say.
        evidence: what the score rests on, by name.
        counts_as: kind of evidence (see `elixir.detection.alarm_rate`); "" if the test decides nothing, or by itself.
        surprise: by how much the score exceeds what benign labels show, in nats; 0 if it decides nothing.
    """

    detector: str
    kind: Literal["direct", "holdout", "discrepancy"]
    group_size: int
    score: float
    passed: bool
    evidence: dict[str, float] = field(default_factory=dict)
    counts_as: Kind | Literal[""] = ""
    surprise: float = 0.0


@dataclass(frozen=True)
class LabelReport:
    """What was found out about one label.

    Attributes:
        samples: that are usable.
        tests: all that were made.
        decided_by: the one that puts it under attack; None if none does.
        not_judged: why that none does says nothing about it (see `elixir.detection.not_judged`); "" if it was judged.
        pattern: indices of samples that share a pattern which no other label has, though none puts it under attack: a
            watermark, or a trigger that models have not learned. They are told, and left as they are.
        false_alarms: labels of a clean set that would surprise as much in all tests together; None if it is not known.
    """

    label: int
    name: str
    samples: int
    tests: tuple[LabelTest, ...] = ()
    decided_by: LabelTest | None = None
    not_judged: str = ""
    pattern: tuple[int, ...] = ()
    false_alarms: float | None = None

    @property
    def best_direct(self) -> LabelTest | None:
        """The direct test with the best score; None without any."""
        return max((test for test in self.tests if test.kind == "direct"), key=lambda test: test.score, default=None)

    @property
    def direct_score(self) -> float:
        """The best direct score, to four decimals as it is published."""
        return round(self.best_direct.score, 4) if self.best_direct else 0.0


def label_reports(facts: dict[str, Any]) -> list[LabelReport]:
    """The reports of all labels, from the fact `labels` of a run, where they are plain values."""
    reports = []
    for report in facts["labels"]:
        tests = tuple(LabelTest(**test) for test in report["tests"])
        decided_by = report["decided_by"] and LabelTest(**report["decided_by"])
        pattern = tuple(report.get("pattern", ()))
        reports.append(LabelReport(**report | {"tests": tests, "decided_by": decided_by, "pattern": pattern}))
    return reports
