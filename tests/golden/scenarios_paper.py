"""The paper's recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from golden.readers import Features, Fires, Reader
from golden.scenario import Outcome, Scenario
from golden.worlds import SURE, foreign, right

STRONG = 70
FEW = {
    "candidates.steps": 6,
    "candidates.of": 40,
    "candidates.rounds": 2,
    "candidates.keep": 4,
    "transitions.tau": 2,
    "transitions.minimum": 4,
}


def _paper(outcome: Outcome) -> None:
    assert outcome.detectors == {"ash": "discrepancy"}
    learned = [sum(outcome.trained[name][0]) for name in ("clean-first", "clean")]
    kept = outcome.actions["kept"]
    settled, agreed = learned[0] - kept, learned[1] - learned[0]
    open_ones = sum(outcome.actions.values()) - learned[1]
    assert min(settled, agreed, open_ones) >= 3


def _none(outcome: Outcome) -> None:
    assert outcome.detectors == {}
    assert set(outcome.actions) == {"kept"}


def paper(name: str, reaches: Callable[[Outcome], None], **settings: Any) -> Scenario:
    """Triggers that die at once, and some that die in the course of the rounds."""
    return Scenario(
        name,
        [
            *right(14),
            *foreign(8, stripes=20),
            *foreign(6, stripes=STRONG),
            *foreign(6, wave=23),
            *right(2, (1, 2), stripes=20),
        ],
        {
            "reference": Reader(fires=(Fires("wave", 16, 0), Fires("stripes", 8, 0))),
            "clean-first": SURE,
            "clean": SURE,
        },
        reaches,
        features=Features({"stripes": (1.0, 24), "wave": (1.0, 24)}, colour=0.5),
        settings={**FEW, **settings},
        recipe="dataelixir-paper",
    )


ALL = [
    paper("paper", _paper),
    paper("paper-published", _paper, **{"transitions.rule": "published", "candidates.ssim": "released"}),
    paper("paper-none", _none, **{"transitions.minimum": 1000}),
]
