"""How rare a score is among labels that nobody has poisoned: from the clean sets of notebooks/false_alarms."""

import math
from dataclasses import dataclass
from typing import Literal

RAREST = 1e-4
"""False alarms a set below which no number is told: the tails are known from about a hundred sets."""


@dataclass(frozen=True)
class Tail:
    """High scores of benign labels: of n labels, n * exp((location - s) / scale) reach s on average.

    So the greatest of them has a Gumbel distribution (Gumbel 1958), whatever n is.
    """

    location: float
    scale: float

    def expected(self, score: float, labels: int) -> float:
        """How many of so many benign labels reach a score, on average; at most all."""
        return labels * math.exp(min((self.location - score) / self.scale, 0.0))


TAILS = {"direct": Tail(-0.0856, 0.0557), "holdout": Tail(-0.0845, 0.0772)}
"""Of a label's best score in each kind of test, fitted by notebooks/false_alarms/tails.py."""


def false_alarms(kind: Literal["direct", "holdout"], score: float, labels: int) -> float:
    """How many labels of a clean set show such a score, or one as rare in the other kind of test, on average.

    Args:
        score: of a test of this kind, in [0,1].
        labels: that are tested.

    Returns:
        At most `labels`.
    """
    return min(float(labels), len(TAILS) * TAILS[kind].expected(score, labels))


def rarity(false_alarms: float) -> str:
    """A number of false alarms in words."""
    return f"1 in {1 / false_alarms:,.0f}" if false_alarms > RAREST else f"fewer than 1 in {1 / RAREST:,.0f}"
