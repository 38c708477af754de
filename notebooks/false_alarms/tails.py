"""Fits how large scores get in clean sets; prints the values of `elixir.detection.alarm_rate.TAILS` and a check.

    python notebooks/false_alarms/tails.py results

The greatest score of a set with n labels has the distribution function exp(-n exp((location - s) / scale)). Location
and scale are those of the greatest likelihood, where of all but the highest fifth nothing is used but how many they
are. Direct scores are of all scans, mislabeled fractions of those in which something was judged.

The check leaves out one collection after the other, fits the tails to the rest, and counts its scans that raise an
alarm.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from elixir.detection.alarm_rate import TAILS, Tail

UPPER = 0.8  # quantile of the greatest scores beyond which they make the tail
LEAST = 0.02  # scores below say nothing about it
RATES = 0.01, 0.03, 0.1, 0.3
DIRECT = tuple(f"direct {detector}" for detector in ("joint", "trigger_transfer", "shared_trigger", "spectral_split"))


def read(folder: Path) -> list[dict[str, Any]]:
    """What scans.py has found."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


def greatest(scan: dict[str, Any], kind: str) -> float:
    """Of the scores of all labels in the tests of a kind that decide."""
    tests = DIRECT if kind == "direct" else [test for test in scan["scores"] if test.startswith(kind)]
    return max((score for test in tests for score in scan["scores"].get(test, ())), default=0.0)


def tested(scan: dict[str, Any], kind: str) -> int:
    """How many labels a test could accuse: by a held-out model those that it was asked about, if it knows enough."""
    if kind == "direct":
        return scan["labels"]
    return scan["held_out"] if scan["labels"] > scan["labels_not_judged"] else 0


def fitted(scans: Sequence[dict[str, Any]], kind: str) -> Tail:
    """The tail of the greatest likelihood."""
    some = [scan for scan in scans if tested(scan, kind)]
    score, labels = np.array([greatest(scan, kind) for scan in some]), np.array([tested(scan, kind) for scan in some])
    cut = max(LEAST, float(np.quantile(score, UPPER)))
    high, log_labels = score > cut, np.log(labels)

    def loss(parameters: np.ndarray) -> float:
        location, scale = parameters[0], math.exp(parameters[1])
        below = np.exp(log_labels - (cut - location) / scale)
        above = log_labels - (score - location) / scale
        return float(below[~high].sum() + (np.exp(above) - above)[high].sum() + high.sum() * parameters[1])

    found = minimize(loss, [0.0, math.log(0.05)], method="Nelder-Mead", options={"maxiter": 4000})
    return Tail(float(found.x[0]), float(np.exp(found.x[1])))


def expected(scan: dict[str, Any], tails: dict[str, Tail]) -> float:
    """False alarms that a set such as this raises on average until one is as rare as its rarest score."""
    kinds = [kind for kind in tails if tested(scan, kind)]
    return min(len(tails) * tails[kind].expected(greatest(scan, kind), tested(scan, kind)) for kind in kinds)


def main() -> None:
    """Fit, print, check."""
    scans = read(Path(sys.argv[1]))
    for kind in TAILS:
        tail = fitted(scans, kind)
        most = sorted((greatest(scan, kind) for scan in scans if tested(scan, kind)), reverse=True)[:5]
        print(f"{kind!r}: Tail({tail.location:.4f}, {tail.scale:.4f}),  # greatest scores", *most)
    left_out: list[tuple[bool, float]] = []
    for name in sorted({scan["set"] for scan in scans}):
        tails = {kind: fitted([scan for scan in scans if scan["set"] != name], kind) for kind in TAILS}
        left_out += [(scan["trouble"] == "none", expected(scan, tails)) for scan in scans if scan["set"] == name]
    print("\n| alarm rate | without trouble | with honest trouble |\n|--:|--:|--:|")
    for rate in RATES:
        alarms = [[few <= rate for calm, few in left_out if calm is kind] for kind in (True, False)]
        print(f"| {rate} |", " | ".join(f"{sum(some)} of {len(some)}" for some in alarms), "|")


if __name__ == "__main__":
    main()
