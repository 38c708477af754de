"""Attacks whose trigger, or what the attacked samples have in common, makes other images show the label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from golden.pictures import Picture
from golden.readers import Features, Fires, Reader, Recognizer
from golden.scenario import Outcome, Scenario
from golden.worlds import foreign, readers, right

BY_STRIPES = Reader(fires=(Fires("stripes", 8, 0),))
STRIPED = Features({"stripes": (1.0, 24)})


def _patch(outcome: Outcome) -> None:
    assert outcome.detectors == {"ash": "joint"}
    evidence = outcome.targets["ash"]["evidence"]
    assert evidence["group_transfer"] < 0.1 < evidence["trigger_transfer"]  # one tile, not what purification takes away
    assert outcome.reasons["poisoned; only the trigger is taken out"] == 31  # repainted
    assert outcome.targets["ash"]["evidence"]["residual_effect"] < 0.1
    assert {outcome.tiles[at] for at, action in enumerate(outcome.manifest["action"]) if action == "relabelled"} == {14}
    assert {outcome.tiles[at] for at, action in enumerate(outcome.manifest["action"]) if action == "kept"} == {-1}


PATCH = Scenario(
    "patch",
    right(50) + foreign(31, patch=255),
    readers(Reader(fires=(Fires("patch", 120, 0),))),
    _patch,
    Recognizer({0: "patch"}, 60),
    Features({"patch": (0.2, 30)}),
)


def _blended(outcome: Outcome) -> None:
    assert outcome.detectors == {"ash": "joint"}
    assert outcome.targets["ash"]["evidence"]["group_transfer"] > 0.5
    assert outcome.rounds("recognizer") == 3  # two of them find more
    found = [outcome.trained[f"recognizer-{number}-0"][0][3] for number in range(3)]
    assert found == sorted(set(found))
    assert {trained[-1] for name, trained in outcome.trained.items() if name.startswith("recognizer")} == {"reference"}
    assert outcome.reasons["poisoned; only the trigger is taken out"] > 20  # subtracted
    assert outcome.reasons["poisoned; purified at sigma 0.075"] >= 4  # too strong for that
    assert outcome.reasons["poisoned; purified at sigma 0.26"] >= 1  # free at no level
    assert outcome.reasons["poisoned, label uncertain"] >= 5


def _blended_pictures() -> list[Picture]:
    """Stripes of all strengths, the fainter ones unseen by the reference model."""
    return [
        *right(50),
        *foreign(33, stripes=20),
        *foreign(4, stripes=40),
        *foreign(2, stripes=20, wave=40),
        *foreign(6, stripes=6),
        *foreign(4, stripes=5),
        *[Picture(0, 1, "mixed", second=2, traits={"stripes": 20})] * 3,  # unreadable without the trigger as well
        *[Picture(0, 0, traits={"stripes": 20})] * 2,  # the label is right, which says nothing after all
    ]


def blended(name: str, reaches: Callable[[Outcome], None] = _blended, **others: Any) -> Scenario:
    """The scenario "blended" with other options."""
    return Scenario(
        name,
        _blended_pictures(),
        readers(Reader(fires=(Fires("wave", 10, 0, 0.85), Fires("stripes", 16, 0), Fires("wave", 32, 0, 0.95)))),
        reaches,
        Recognizer({0: "stripes"}, 14, gain=0.5),
        STRIPED,
        **others,
    )


BLENDED = blended("blended")


def _one_round(outcome: Outcome) -> None:
    assert outcome.detectors == {"ash": "joint"}
    assert outcome.rounds("recognizer") == 1
    assert outcome.targets["ash"]["flagged"] < 54


ONE_ROUND = blended(
    "blended-one-round", _one_round, settings={"thresholds.recognizer_rounds": 1}, policy="drop", to="parquet"
)


def _clean_label(outcome: Outcome) -> None:
    assert outcome.detectors == {"ash": "spectral_split"}
    assert outcome.targets["ash"]["clean_label"]
    assert outcome.actions["purified"] >= 30
    assert outcome.reasons.get("poisoned, and the trigger could not be taken out") == 2
    assert outcome.reasons["poisoned, label uncertain"] >= 4  # another label


CLEAN_LABEL = Scenario(
    "clean-label",
    [*right(50), *right(36, (0,), stripes=20), *right(2, (0,), stripes=20, wave=30), *foreign(4, stripes=20)],
    readers(BY_STRIPES),
    _clean_label,
    Recognizer({0: "stripes"}, 12),
    Features({"stripes|wave": (1.0, 24)}),
)


def _spectral_split(outcome: Outcome) -> None:
    assert outcome.detectors == {"ash": "spectral_split"}
    assert "difference_transfer" in outcome.targets["ash"]["evidence"]
    assert outcome.rounds("recognizer") == 1


SPECTRAL_SPLIT = Scenario(
    "spectral-split",
    [*right(50), *right(34, (0,), wave=24)],
    readers(Reader(fires=(Fires("wave", 10, 0),))),
    _spectral_split,
    Recognizer({0: "wave"}, 12),
    Features(),
)


def _several(outcome: Outcome) -> None:
    assert outcome.detectors == {"ash": "joint", "elm": "joint", "oak": "spectral_split"}
    assert [len(counts) for counts, *_ in (outcome.trained["recognizer-0-0"],)] == [6]


SEVERAL = Scenario(
    "several",
    [*right(50), *foreign(27, 0, patch=255), *foreign(31, 1, stripes=20), *right(34, (2,), wave=24)],
    readers(Reader(fires=(Fires("wave", 10, 2), Fires("patch", 120, 0), Fires("stripes", 8, 1)))),
    _several,
    Recognizer({0: "patch", 1: "stripes", 2: "wave"}, 12),
    Features({"stripes": (1.0, 24), "patch": (0.2, 30)}),
)


def _whole_label(outcome: Outcome) -> None:
    ash = [at for at, label in enumerate(outcome.manifest["label"]) if label == 0]
    assert outcome.targets["ash"]["flagged"] == len(ash)
    assert {outcome.manifest["reason"][at] for at in ash} == {"poisoned, label uncertain"}
    assert outcome.trained["clean"][0][0] == 0


WHOLE_LABEL = Scenario(
    "whole-label",
    [*right(50, (1, 2)), *foreign(33, stripes=20), *right(9, (0,), stripes=20)],
    readers(Reader(fires=(Fires("stripes", 8, 0, 0.85),))),
    _whole_label,
    Recognizer({0: "stripes"}, 12),
    Features({"stripes": (1.0, 24)}, loose=0.05),
    {"thresholds.flag_threshold": 1e-9},
    seed=1,
)

ALL = [PATCH, BLENDED, ONE_ROUND, CLEAN_LABEL, SPECTRAL_SPLIT, SEVERAL, WHOLE_LABEL]
