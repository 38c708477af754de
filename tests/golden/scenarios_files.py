"""Kinds of input and output, odd files, policies, and a model of the user's."""

from __future__ import annotations

from functools import partial
from typing import Any

from golden.pictures import Picture
from golden.readers import Features, Fires, Reader, Recognizer
from golden.scenario import Outcome, Scenario
from golden.worlds import SURE, foreign, readers, right

STRIPED = Features({"stripes": (1.0, 24)})
ODD = [
    *[Picture(1, 2, traits={"stripes": 20}, file="large")] * 2,
    *[Picture(1, 0, traits={"stripes": 20}, file="alpha")] * 2,
    *[Picture(1, 0, traits={"stripes": 20}, file="deep")] * 2,
    Picture(0, 0, file="large"),
    Picture(0, 0, file="alpha"),
    Picture(0, 0, file="deep"),
    Picture(1, 0, file="broken"),
    Picture(2, 0, file="empty"),
]
OFTEN_SURE = Reader(SURE.plain, mixed=(0.7, 0.2, 0.1))
UNSURE = Reader(SURE.plain, mixed=(0.45, 0.35, 0.2))  # of what the two deep pictures show, which are grey
NO_LABEL = [Picture(None, 1), Picture(None, 1, file="broken")]


def _found(actions: dict[str, int], outcome: Outcome) -> None:
    assert outcome.detectors == {"elm": "joint"}
    assert {action: outcome.actions.get(action, 0) for action in actions} == actions


def small(
    name: str, kind: str, to: str, policy: str, reaches: dict[str, int], clean: Reader = OFTEN_SURE, **others: Any
) -> Scenario:
    """Few pictures, some of them odd, of one kind to another; `clean` stands for the clean model."""
    rest = [] if kind == "folder" else NO_LABEL
    return Scenario(
        name,
        [*right(14), *foreign(11, 1, stripes=20), *ODD, *rest],
        readers(Reader(fires=(Fires("stripes", 8, 1),)), clean=clean),
        partial(_found, reaches),
        Recognizer({1: "stripes"}, 12),
        STRIPED,
        policy=policy,
        kind=kind,
        to=to,
        **others,
    )


REPAIRED = {"relabelled": 17, "dropped": 0}
KINDS = [
    small("folder-to-folder", "folder", "folder", "relabel", {"relabelled": 15, "quarantined": 4}, UNSURE),
    small("folder-to-parquet", "folder", "parquet", "drop", {"relabelled": 0, "dropped": 17, "quarantined": 2}),
    small("folder-to-hf", "folder", "hf", "quarantine", {"relabelled": 0, "quarantined": 19}),
    small("parquet-to-parquet", "parquet", "parquet", "relabel", REPAIRED | {"quarantined": 4}),
    small("parquet-to-folder", "parquet", "folder", "quarantine", {"relabelled": 0, "quarantined": 21}),
    small("parquet-to-hf", "parquet", "hf", "relabel", REPAIRED | {"quarantined": 4}),
    small("hf-to-hf", "hf", "hf", "relabel", REPAIRED | {"quarantined": 4}, seed=2),
    small("hf-to-parquet", "hf", "parquet", "relabel", REPAIRED | {"quarantined": 4}),
    small("hf-to-folder", "hf", "folder", "drop", {"relabelled": 0, "dropped": 17, "quarantined": 4}),
]


def _scan(outcome: Outcome) -> None:
    _found({"relabelled": 15, "quarantined": 4}, outcome)
    assert not any(outcome.manifest["output"])
    assert outcome.restored == -1


SCAN = small("scan", "folder", "folder", "relabel", {}, UNSURE, scan=True)
SCAN = Scenario(**{**vars(SCAN), "reaches": _scan, "to": None})


def _one_sided(outcome: Outcome) -> None:
    assert outcome.detectors == {"ash": "joint"}
    assert outcome.findings["mirrored"] is False
    assert outcome.read["clean"] < 200


ONE_SIDED = Scenario(
    "one-sided",
    [*right(14, side=-12), *foreign(14, stripes=20, side=-12)],
    readers(Reader(fires=(Fires("stripes", 8, 0),)), crossfit=Reader((0.9, 0.05, 0.05), misread=(("side", 6),))),
    _one_sided,
    Recognizer({0: "stripes"}, 12),
    STRIPED,
)


def _own(outcome: Outcome) -> None:
    assert outcome.detectors == {"ash": "joint"}
    assert "reference" not in outcome.trained
    assert outcome.trained["recognizer-0-0"][-1] is None  # a user's network may be no start for one
    assert outcome.actions["relabelled"] == 13


OWN = Scenario(
    "own-model",
    [*right(14), *foreign(13, stripes=20)],
    readers(Reader()),
    _own,
    Recognizer({0: "stripes"}, 12),
    own=True,
    seed=1,
)


def _own_clean(outcome: Outcome) -> None:
    assert outcome.detectors == {}
    assert sum(outcome.trained["clean"][0]) == 36  # there is no reference model of the run to take its place


OWN_CLEAN = Scenario("own-model-clean", right(12), readers(Reader()), _own_clean, own=True)

ALL = [*KINDS, SCAN, ONE_SIDED, OWN, OWN_CLEAN]
