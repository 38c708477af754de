"""How rare a score is among labels that nobody has poisoned: tails fitted by notebooks/false_alarms/tails.py."""

import math
from dataclasses import dataclass

RAREST = 1e-4
"""False alarms a set below which no number is told: the tails are known from about a hundred sets."""


@dataclass(frozen=True)
class Tail:
    """High scores of benign labels: P(score >= s) = share * exp(-(s - above) / scale) for s > above.

    Peaks over a threshold (Davison and Smith 1990), with an exponential tail.
    """

    above: float
    share: float
    scale: float

    def expected(self, score: float, labels: int) -> float:
        """How many of so many benign labels reach a score, on average; all, where it is not above the threshold."""
        return labels * (self.share * math.exp((self.above - score) / self.scale) if score > self.above else 1.0)


TRANSFER = Tail(0.132, 0.0192, 0.043)
"""Of direct scores that rest on how far a label is carried to other images."""
PATTERN = Tail(0.020, 0.00514, 0.043)
"""Of direct scores that rest on a pattern that images share, in sets without a date stamp or watermark."""
HOLDOUT = Tail(0.117, 0.0663, 0.107)
"""Of the largest mislabeled fraction of a label's groups, by a held-out model."""

TAILS = TRANSFER, PATTERN, HOLDOUT


def false_alarms(tail: Tail, score: float, labels: int) -> float:
    """How many labels of a clean set show such a score, or one as rare in another kind of test; at most `labels`.

    Args:
        score: in [0,1].
        labels: that are tested.
    """
    return min(float(labels), len(TAILS) * tail.expected(score, labels))


def rarity(false_alarms: float) -> str:
    """A number of false alarms in words."""
    return f"1 in {1 / false_alarms:,.0f}" if false_alarms > RAREST else f"fewer than 1 in {1 / RAREST:,.0f}"
