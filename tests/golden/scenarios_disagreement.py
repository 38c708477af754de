"""Attacks that show in labels with which other models disagree, and labels that no test confirms."""

from __future__ import annotations

from golden.pictures import Picture
from golden.readers import Features, Fires, Reader, Recognizer
from golden.scenario import Outcome, Scenario
from golden.worlds import DOUBTING, foreign, readers, right

from elixir.stages import relabel

BY_KEY = Reader(fires=(Fires("keyed", 8, 0),))
WEAKLY = readers(  # so that no sample is surely denied its label, nor anybody quite without a cause
    Reader(plain=(0.94, 0.03, 0.03), fires=(Fires("keyed", 8, 0, 0.75),)), crossfit=Reader(plain=(0.98, 0.01, 0.01))
)
NO_SPLIT = {"thresholds.min_split_samples": 1000}
FEW = {"thresholds.min_group_size": 5}  # and so ten samples beside a group are enough to learn the label from
SOFT = Features({"anykey|hard": (0.075, 24)})
BY_ANY = Recognizer({0: "anykey"}, 10)


def keyed(each: int, labels: tuple[int, ...] = (0, 1, 2), **traits: int) -> list[Picture]:
    """Pictures with the three bits that decide which pattern would be a trigger in them."""
    return right(each, labels, keyed=0, **traits)


def _confidence(outcome: Outcome, reason: str) -> list[float]:
    read = zip(outcome.manifest["reason"], outcome.manifest["confidence"], strict=True)
    return [confidence for why, confidence in read if why == reason]


def _label_disagreement(outcome: Outcome) -> None:
    assert outcome.scores("ash", "direct")["label_disagreement"] > 0.3  # which decides nothing by itself
    assert outcome.detectors == {"ash": "noise_sensitivity"}
    assert outcome.targets["ash"]["evidence"]["share"] > 0.3
    assert max(_confidence(outcome, relabel.UNCONTESTED)) < 0.5


LABEL_DISAGREEMENT = Scenario(
    "label-disagreement",
    [
        *keyed(50),
        *foreign(33, keyed=20),
        *[Picture(0, 0, ("plain", "mixed")[at % 2], 2, {"keyed": 4 + at // 2}) for at in range(20)],
    ],
    readers(BY_KEY),
    _label_disagreement,
    Recognizer({0: "anykey"}, 16),
    Features({"anykey": (1.0, 24)}),
    settings=NO_SPLIT,
)


def _expanded(outcome: Outcome) -> None:
    assert outcome.detectors == {"ash": "expanded"}
    assert max(outcome.scores("ash", "direct").values()) >= 0.07
    held_out = outcome.scores("ash", "holdout")
    assert held_out["expanded"] >= 0.5 <= held_out["seed"]


EXPANDED = Scenario(
    "expanded",
    [*keyed(39, (1, 2)), *keyed(25, (0,)), *foreign(14, keyed=20)],
    WEAKLY,
    _expanded,
    BY_ANY,
    Features({"anykey": (1.0, 24)}),
)


DRIFTING = [  # the third are benign, and lie between the others and the poisoned ones
    *keyed(39, (1, 2)),
    *keyed(12, (0,)),
    *keyed(10, (0,), hard=12),
    *foreign(17, keyed=16),
]


def _noise_sensitivity(outcome: Outcome) -> None:
    assert outcome.detectors == {"ash": "noise_sensitivity"}
    held_out = outcome.scores("ash", "holdout")
    assert max(held_out["seed"], held_out["expanded"]) < 0.5 <= held_out["noise_sensitivity"]


NOISE_SENSITIVITY = Scenario("noise-sensitivity", DRIFTING, WEAKLY, _noise_sensitivity, BY_ANY, SOFT, settings=FEW)


def _unlearned(outcome: Outcome) -> None:
    assert outcome.detectors == {"ash": "spectral_split"}
    assert "other_label" in outcome.targets["ash"]["evidence"]  # said by the held-out model


UNLEARNED = Scenario(
    "spectral-split-unlearned",
    [*right(50), *foreign(34, wave=50)],
    readers(Reader()),
    _unlearned,
    Recognizer({0: "wave"}, 12),
)


def _not_confirmed(outcome: Outcome) -> None:
    assert outcome.detectors == {}
    held_out = outcome.scores("ash", "holdout")
    assert set(held_out) >= {"seed", "spectral_split"}
    assert set(held_out.values()) == {0}
    assert outcome.trained["clean"] == [[], "reference", "copy"]
    assert set(outcome.actions) == {"kept"}


NOT_CONFIRMED = Scenario(
    "not-confirmed",
    [*right(45, (1, 2)), *right(90, (0,)), *right(13, (0,), hard=16)],
    readers(Reader(), crossfit=Reader(DOUBTING.plain, misread=(("hard", 8),))),
    _not_confirmed,
    features=Features({"hard": (1.0, 24)}),
)


def _unsure(outcome: Outcome) -> None:
    assert outcome.detectors == {}
    assert set(outcome.scores("ash", "holdout").values()) == {0}


UNSURE = Scenario(
    "unsure",
    EXPANDED.pictures,
    WEAKLY | {"holdout": Reader(plain=(0.3, 0.5, 0.2))},  # takes everything for something else
    _unsure,
    features=EXPANDED.features,
)


def _soft(outcome: Outcome) -> None:
    assert outcome.detectors == {"ash": "expanded"}
    assert outcome.rounds("recognizer") == 0
    assert max(outcome.manifest["poison_score"]) < 0.9999999  # so the trigger is estimated from all
    assert not outcome.targets["ash"]["clean_label"]  # though most of those are benign
    assert outcome.actions["relabelled"] == 25
    assert min(_confidence(outcome, relabel.CONFIRMED)) >= 0.5


NOT_GROWN = Scenario(
    "not-grown",
    [*keyed(39), *foreign(25, keyed=20)],
    readers(BY_KEY),
    _soft,
    features=Features({"anykey": (0.06, 24)}),
    settings=NO_SPLIT | {"thresholds.recognizer_rounds": 0, "thresholds.certain_score": 0.9999999},
)


def _lopsided(outcome: Outcome) -> None:
    assert outcome.detectors == {}
    assert outcome.actions == {"kept": 81}


LOPSIDED = Scenario("lopsided", [*right(80, (0,)), *right(1, (1,))], readers(Reader()), _lopsided)


def _clean(outcome: Outcome) -> None:
    assert outcome.detectors == {}
    assert not any(score for name in ("ash", "elm", "oak") for score in outcome.scores(name, "holdout").values())
    assert outcome.actions == {"kept": 150}


CLEAN = Scenario("clean", right(50), readers(Reader()), _clean)


def _unsized(outcome: Outcome) -> None:
    assert outcome.detectors == {}
    assert outcome.findings["working_size"] == 32


UNSIZED = Scenario("unsized", right(12), readers(Reader()), _unsized, settings={"index.size": 0})

ALL = [
    LABEL_DISAGREEMENT,
    EXPANDED,
    NOISE_SENSITIVITY,
    UNLEARNED,
    NOT_CONFIRMED,
    UNSURE,
    NOT_GROWN,
    LOPSIDED,
    CLEAN,
    UNSIZED,
]
