"""How rare the evidence against a label is among labels that nobody has poisoned.

The numbers are fitted by notebooks/false_alarms/tails.py.
"""

import math
from dataclasses import dataclass
from typing import Literal

RAREST = 1e-4
"""False alarms a set below which no number is told: they are known from about a hundred sets."""


Kind = Literal["transfer", "pattern", "held out"]
"""What a score rests on: how far the label is carried to other images, a pattern that images share, or what models read
that have not seen them."""


@dataclass(frozen=True)
class Usual:
    """What benign labels show in a test: of their scores above one, P(score >= s) = exp(-(s - above) / scale).

    Peaks over a threshold (Davison and Smith 1990), with an exponential tail.
    """

    kind: Kind
    above: float
    scale: float

    def surprise(self, score: float) -> float:
        """By how much a score exceeds what is usual, in nats, at least 0."""
        return max(0.0, (score - self.above) / self.scale)


TRANSFER = Usual("transfer", 0.136, 0.046)
PATTERN = Usual("pattern", 0.0, TRANSFER.scale)
"""Without a date stamp or watermark no benign label has any."""
HOLDOUT = Usual("held out", 0.020, 0.137)
"""Of the largest mislabeled fraction of a label's groups, by a model that has not seen them."""
UNSEEN = Usual("held out", 0.020, 0.944)
"""Of the mislabeled fraction by a model that has never seen the label, the logarithm of its ratio to the median one."""
SHARE = 0.033
"""Of benign labels that surprise at all."""


def false_alarms(surprise: float, labels: int) -> float:
    """How many labels of a clean set surprise as much.

    A label's surprise is the sum over all kinds of score, of which the greatest counts: P(surprise >= x) =
    SHARE * exp(-x), as for one kind alone. Two independent kinds would exceed x together less often.

    Args:
        surprise: in nats; a label without any is not unusual.
        labels: of the set.
    """
    return labels * (SHARE * math.exp(-surprise) if surprise > 0 else 1.0)


def rarity(false_alarms: float) -> str:
    """A number of false alarms in words."""
    return f"1 in {1 / false_alarms:,.0f}" if false_alarms > RAREST else f"fewer than 1 in {1 / RAREST:,.0f}"
