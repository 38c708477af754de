"""Attacks that show in whose label other models deny or replace, and labels that are only suspected."""

from __future__ import annotations

from functools import partial

from golden.pictures import Picture
from golden.readers import Features, Fires, Reader, Recognizer
from golden.scenario import Outcome, Scenario
from golden.worlds import DOUBTING, foreign, readers, right

BY_KEY = Reader(fires=(Fires("keyed", 8, 0),))
WEAKLY = readers(  # so that no sample is surely denied its label, nor anybody quite without a cause
    Reader(plain=(0.94, 0.03, 0.03), fires=(Fires("keyed", 8, 0, 0.75),)), crossfit=Reader(plain=(0.98, 0.01, 0.01))
)
SOFT = Features({"anykey|hard": (0.075, 24)})
BY_ANY = Recognizer({0: "anykey"}, 10)


def keyed(each: int, labels: tuple[int, ...] = (0, 1, 2), **traits: int) -> list[Picture]:
    """Pictures with the three bits that decide which pattern would be a trigger in them."""
    return right(each, labels, keyed=0, **traits)


def _contradiction(outcome: Outcome) -> None:
    assert outcome.methods == {"ash": "contradiction"}
    assert outcome.targets["ash"]["evidence"]["share"] > 0.3
    confirmed = [
        outcome.manifest["confidence"][at]
        for at, reason in enumerate(outcome.manifest["reason"])
        if reason == "suspected, but the benign model confirms its label"
    ]
    assert min(confirmed) < 0.5 < max(confirmed)


CONTRADICTION = Scenario(
    "contradiction",
    [
        *keyed(50),
        *foreign(33, keyed=20),
        *[Picture(0, 0, ("plain", "mixed")[at % 2], 2, {"keyed": 4 + at // 2}) for at in range(20)],
    ],
    readers(BY_KEY),
    _contradiction,
    {"recognize": Recognizer({0: "anykey"}, 16)},
    Features({"anykey": (1.0, 24)}),
)


def _retrial(outcome: Outcome) -> None:
    assert outcome.methods == {"ash": "retrial"}
    assert 0.07 <= outcome.findings["scores"]["ash"] < 0.3
    assert outcome.findings["retried"]["ash"]["retrial"] >= 0.6 <= outcome.findings["retried"]["ash"]["core"]


RETRIAL = Scenario(
    "retrial",
    [*keyed(39, (1, 2)), *keyed(25, (0,)), *foreign(14, keyed=20)],
    WEAKLY,
    _retrial,
    {"recognize": BY_ANY},
    Features({"anykey": (1.0, 24)}),
)


def _core(rounds: int, outcome: Outcome) -> None:
    assert outcome.methods == {"ash": "core"}
    retried = outcome.findings["retried"]["ash"]
    assert retried["retrial"] < 0.6 <= retried["core"]
    assert outcome.rounds("closer") == rounds
    assert outcome.rounds("recognize") == 0


def drifting(strength: int) -> list[Picture]:
    """Benign pictures that lie between the others and the poisoned ones, and nearer to these the stronger they are."""
    return [
        *keyed(39, (1, 2)),
        *keyed(12, (0,)),
        *keyed(10, (0,), hard=strength),
        *foreign(17, keyed=16),
    ]


def core(name: str, rounds: int, least: float) -> Scenario:
    """Classifiers that are shown the fine detail take more or fewer of the benign ones for poisoned."""
    return Scenario(
        name,
        drifting(4),
        WEAKLY,
        partial(_core, rounds),
        {"closer": Recognizer({0: "anykey|hard"}, least, gain=1)},
        SOFT,
    )


CORE = core("core", 1, 24)
CORE_ROUNDS = core("core-in-rounds", 5, 21)  # benign ones join, some of them for a while


def _drop(outcome: Outcome) -> None:
    assert outcome.methods == {"ash": "drop"}
    retried = outcome.findings["retried"]["ash"]
    assert max(retried["retrial"], retried["core"]) < 0.6 <= retried["drop"]


DROP = Scenario("drop", drifting(8), WEAKLY, _drop, {"recognize": BY_ANY}, SOFT)


def _unlearned_pattern(outcome: Outcome) -> None:
    assert outcome.methods == {"ash": "pattern"}
    assert "sure_of_another" in outcome.targets["ash"]["evidence"]  # said by the model that has not seen the group


UNLEARNED_PATTERN = Scenario(
    "unlearned-pattern",
    [*right(50), *foreign(34, wave=50)],
    readers(Reader()),
    _unlearned_pattern,
)


def _acquitted(outcome: Outcome) -> None:
    assert outcome.methods == {}
    assert set(outcome.findings["retried"]["ash"]) >= {"core", "retrial", "pattern"}
    assert set(outcome.findings["retried"]["ash"].values()) == {0}
    assert outcome.trained["benign"] == [[], "reference", "copy"]
    assert set(outcome.actions) == {"kept"}


ACQUITTED = Scenario(
    "acquitted",
    [*right(45, (1, 2)), *right(90, (0,)), *right(13, (0,), hard=16)],
    readers(Reader(), crossfit=Reader(DOUBTING.plain, misread=(("hard", 8),))),
    _acquitted,
    features=Features({"hard": (1.0, 24)}),
)


def _unsure(outcome: Outcome) -> None:
    assert outcome.methods == {}
    assert outcome.findings["retried"]["ash"]
    assert set(outcome.findings["retried"]["ash"].values()) == {0}


UNSURE = Scenario(
    "unsure",
    RETRIAL.pictures,
    WEAKLY | {"retrial": Reader(plain=(0.7, 0.2, 0.1), fires=(Fires("keyed", 8, 1),))},  # sure of the group alone
    _unsure,
    features=RETRIAL.features,
)


def _soft(outcome: Outcome) -> None:
    assert outcome.methods == {"ash": "contradiction"}
    assert outcome.rounds("recognize") == 0
    assert max(outcome.manifest["suspicion"]) < 0.9999999  # so the trigger is estimated from all
    assert outcome.targets["ash"]["clean_label"]  # for most of those are benign
    assert outcome.reasons["poisoned, label uncertain"] == 25


NOT_GROWN = Scenario(
    "not-grown",
    [*keyed(39), *foreign(25, keyed=20)],
    readers(BY_KEY),
    _soft,
    features=Features({"anykey": (0.06, 24)}),
    settings={"refine.rounds": 0, "trigger.sure": 0.9999999},
)


def _single_label(outcome: Outcome) -> None:
    assert outcome.methods == {"ash": "contradiction"}  # every image shows its label in any other
    assert outcome.targets["ash"]["evidence"]["residual_cause"] == 0  # as there is no image of another label to try


SINGLE_LABEL = Scenario(
    "single-label",
    [*right(25, (0,)), *foreign(13, stripes=20)],
    readers(Reader(fires=(Fires("stripes", 8, 0),))),
    _single_label,
    {"recognize": Recognizer({0: "stripes"}, 12)},
    Features({"stripes": (1.0, 24)}),
)


def _lopsided(outcome: Outcome) -> None:
    assert outcome.methods == {}
    assert outcome.actions == {"kept": 81}


LOPSIDED = Scenario("lopsided", [*right(80, (0,)), *right(1, (1,))], readers(Reader()), _lopsided)


def _clean(outcome: Outcome) -> None:
    assert outcome.methods == {}
    assert outcome.findings["retried"] == {}
    assert outcome.actions == {"kept": 150}


CLEAN = Scenario("clean", right(50), readers(Reader()), _clean)


def _unsized(outcome: Outcome) -> None:
    assert outcome.methods == {}
    assert outcome.findings["working_size"] == 32


UNSIZED = Scenario("unsized", right(12), readers(Reader()), _unsized, settings={"index.size": 0})

ALL = [
    CONTRADICTION,
    RETRIAL,
    CORE,
    CORE_ROUNDS,
    DROP,
    UNLEARNED_PATTERN,
    ACQUITTED,
    UNSURE,
    NOT_GROWN,
    SINGLE_LABEL,
    LOPSIDED,
    CLEAN,
    UNSIZED,
]
