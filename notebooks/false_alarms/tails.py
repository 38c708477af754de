"""Fits how large scores get in clean sets; prints the values of `elixir.detection.alarm_rate.TAILS` and a check.

    python notebooks/false_alarms/tails.py results

Of n benign labels the greatest score has the distribution function exp(-n share exp((above - s) / scale)), for s >
above. Share and scale are those of the greatest likelihood; of what is not above, four fifths of the sets, nothing is
used but how many they are. Both kinds of direct score have one scale, as patterns hardly ever show anything in clean
sets, and are fitted without sets with a date stamp or watermark, which have just that.

The check leaves out one collection after the other, fits the tails to the rest, and counts its scans that raise an
alarm.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from elixir.detection.alarm_rate import Tail

UPPER = 0.8  # quantile of the greatest scores beyond which they make the tail
LEAST = 0.02  # scores below say nothing about it
SCALES = 0.005, 0.5
RATES = 0.01, 0.03, 0.1, 0.3
TESTS = {
    "TRANSFER": ("direct joint", "direct trigger_transfer"),
    "PATTERN": ("direct shared_trigger", "direct spectral_split"),
    "HOLDOUT": ("holdout seed", "holdout expanded", "holdout noise_sensitivity", "holdout spectral_split"),
}
PATTERNS = ("date_stamp", "watermark")

Scan = Mapping[str, Any]


def read(folder: Path) -> list[Scan]:
    """What scans.py has found."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


def is_judged(scan: Scan) -> bool:
    """Whether models know enough of the set; else held-out tests and shared triggers are void."""
    return scan["labels"] > scan["labels_not_judged"]


def greatest(scan: Scan, kind: str) -> float:
    """Of the scores of all labels in the tests of a kind; those of held-out models only where `tested`."""
    tests = [test for test in TESTS[kind] if is_judged(scan) or test != "direct shared_trigger"]
    return max((score for test in tests for score in scan["scores"].get(test, ())), default=0.0)


def tested(scan: Scan, kind: str) -> int:
    """How many labels the tests of a kind could accuse."""
    if kind == "HOLDOUT":
        return scan["held_out"] if is_judged(scan) else 0
    return scan["labels"]


def fitted(scans: Sequence[Scan], kinds: Sequence[str]) -> dict[str, Tail]:
    """The tails of the greatest likelihood of kinds of test that have one scale."""
    cut, over, labels = {}, {}, {}
    for kind in kinds:
        some = [scan for scan in scans if tested(scan, kind) and (kind == "HOLDOUT" or scan["trouble"] not in PATTERNS)]
        labels[kind] = np.array([tested(scan, kind) for scan in some])
        score = np.array([greatest(scan, kind) for scan in some])
        cut[kind] = max(LEAST, float(np.quantile(score, UPPER)))
        over[kind] = np.maximum(score - cut[kind], 0)

    def share(kind: str, scale: float) -> float:
        """The likeliest one for a scale, where the likelihood's derivative is 0."""
        return max(1, (over[kind] > 0).sum()) / float((labels[kind] * np.exp(-over[kind] / scale)).sum())

    def loss(scale: float) -> float:
        """Minus the logarithm of the likelihood, but for what does not depend on it."""
        total = 0.0
        for kind in kinds:
            expected = labels[kind] * share(kind, scale) * np.exp(-over[kind] / scale)
            total += float(expected.sum() - np.log(expected[over[kind] > 0] / scale).sum())
        return total

    scale = float(minimize_scalar(loss, bounds=SCALES, method="bounded").x)
    return {kind: Tail(cut[kind], share(kind, scale), scale) for kind in kinds}


def all_fitted(scans: Sequence[Scan]) -> dict[str, Tail]:
    """The tails of all kinds."""
    return fitted(scans, ("TRANSFER", "PATTERN")) | fitted(scans, ("HOLDOUT",))


def expected(scan: Scan, tails: Mapping[str, Tail]) -> float:
    """False alarms that a set such as this raises on average until one is as rare as its rarest score."""
    asked = [kind for kind in tails if tested(scan, kind)]
    return min(len(tails) * tails[kind].expected(greatest(scan, kind), tested(scan, kind)) for kind in asked)


def main() -> None:
    """Fit, print, check."""
    scans = read(Path(sys.argv[1]))
    for kind, tail in all_fitted(scans).items():
        most = sorted((greatest(scan, kind) for scan in scans if tested(scan, kind)), reverse=True)[:5]
        print(f"{kind} = Tail({tail.above:.3f}, {tail.share:.3g}, {tail.scale:.3f})  # greatest scores", *most)
    left_out: list[tuple[bool, float]] = []
    for name in sorted({scan["set"] for scan in scans}):
        tails = all_fitted([scan for scan in scans if scan["set"] != name])
        left_out += [(scan["trouble"] == "none", expected(scan, tails)) for scan in scans if scan["set"] == name]
    print("\n| alarm rate | without trouble | with honest trouble |\n|--:|--:|--:|")
    for rate in RATES:
        alarms = [[few <= rate for calm, few in left_out if calm is which] for which in (True, False)]
        print(f"| {rate} |", " | ".join(f"{sum(some)} of {len(some)}" for some in alarms), "|")


if __name__ == "__main__":
    main()
