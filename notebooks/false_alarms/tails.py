"""Fits how surprising clean sets are; prints the values of `elixir.detection.alarm_rate` and a check.

    python notebooks/false_alarms/tails.py results

Of n benign labels the greatest value has the distribution function exp(-n share exp(-x)), where x is by how much it
exceeds a threshold, in units of a scale. Share and scale are those of the greatest likelihood; of what is not above,
four fifths of the sets, nothing is used but how many they are. So the scale of some tests is found, and then the share
of labels that surprise in all tests together. Sets with a date stamp or watermark have patterns and say
nothing about that.

The check leaves out one collection after the other, fits the numbers to the rest, and counts its scans that raise an
alarm.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from elixir.detection import alarm_rate
from elixir.detection.alarm_rate import Usual

UPPER = 0.8  # quantile of the greatest scores beyond which they make the tail
LEAST = 0.02  # scores below say nothing about it
SCALES = 0.005, 2.0
RATES = 0.01, 0.03, 0.1, 0.3
TESTS = {
    "TRANSFER": ("direct joint",),
    "PATTERN": ("direct shared_trigger", "direct spectral_split"),
    "HOLDOUT": ("holdout expanded", "holdout noise_sensitivity", "holdout spectral_split"),
    "UNSEEN": ("holdout unseen_label",),
}
"""What the numbers of `elixir.detection.alarm_rate` are about, by their names."""
PATTERNS = ("date_stamp", "watermark")

Scan = Mapping[str, Any]


class Fit(NamedTuple):
    """What benign labels show in some tests, by their names, and the share of them that surprises."""

    usual: Mapping[str, Usual]
    share: float

    def surprise(self, scan: Scan) -> np.ndarray:
        """That of each label, (k,)."""
        most: dict[str, np.ndarray] = {}
        for name, one in self.usual.items():
            shown = np.array([one.surprise(score) for score in strongest(scan, name)])
            most[one.kind] = np.maximum(shown, most.get(one.kind, 0.0))
        return np.sum([*most.values()], axis=0)

    def false_alarms(self, scan: Scan) -> float:
        """Labels of a clean set that surprise as much as the most surprising one of this."""
        most = self.surprise(scan).max()
        return scan["labels"] * (self.share * np.exp(-most) if most > 0 else 1.0)


def read(folder: Path) -> list[Scan]:
    """What scans.py has found."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


def strongest(scan: Scan, name: str) -> np.ndarray:
    """The best score of each label in some of `TESTS`, (k,)."""
    made = [scan["scores"][test] for test in TESTS[name] if test in scan["scores"]]
    return np.max([np.zeros(scan["labels"]), *made], axis=0)


def likeliest_share(over: np.ndarray, labels: np.ndarray, scale: float) -> float:
    """Share of benign labels above a threshold, if they exceed it by that scale.

    Args:
        over: by how much the greatest of each set exceeds it, at least 0, (n,).
        labels: of each set, (n,).
    """
    return max(1, (over > 0).sum()) / float((labels * np.exp(-over / scale)).sum())


def usual(scans: Sequence[Scan], name: str) -> Usual:
    """What benign labels show in some of `TESTS`: the scale is that of the greatest likelihood."""
    labels = np.array([scan["labels"] for scan in scans])
    greatest = np.array([strongest(scan, name).max() for scan in scans])
    cut = max(LEAST, float(np.quantile(greatest, UPPER)))
    over = np.maximum(greatest - cut, 0)

    def loss(scale: float) -> float:
        """Minus the logarithm of the likelihood, but for what does not depend on it."""
        expected = labels * likeliest_share(over, labels, scale) * np.exp(-over / scale)
        return float(expected.sum() - np.log(expected[over > 0] / labels[over > 0] / scale).sum())

    scale = float(minimize_scalar(loss, bounds=SCALES, method="bounded").x)
    return replace(getattr(alarm_rate, name), above=cut, scale=scale)


def fitted(scans: Sequence[Scan]) -> Fit:
    """All numbers; patterns, which hardly any clean set has, get the scale of the other kind of direct score."""
    found = {name: usual(scans, name) for name in TESTS if name != "PATTERN"}
    fit = Fit(found | {"PATTERN": replace(alarm_rate.PATTERN, above=0.0, scale=found["TRANSFER"].scale)}, 1.0)
    some = [scan for scan in scans if scan["trouble"] not in PATTERNS]
    greatest = np.array([fit.surprise(scan).max() for scan in some])
    return fit._replace(share=likeliest_share(greatest, np.array([scan["labels"] for scan in some]), 1.0))


def main() -> None:
    """Fit, print, check."""
    scans = read(Path(sys.argv[1]))
    fit = fitted(scans)
    for name, one in fit.usual.items():
        most = sorted((round(float(strongest(scan, name).max()), 3) for scan in scans), reverse=True)[:5]
        print(f'{name} = Usual("{one.kind}", {one.above:.3f}, {one.scale:.3f})  # greatest scores', *most)
    print(f"SHARE = {fit.share:.3f}")
    left_out: list[tuple[bool, float]] = []
    for name in sorted({scan["set"] for scan in scans}):
        rest = fitted([scan for scan in scans if scan["set"] != name])
        left_out += [(scan["trouble"] == "none", rest.false_alarms(scan)) for scan in scans if scan["set"] == name]
    told = [(scan["trouble"] == "none", fit.false_alarms(scan)) for scan in scans]
    print("\n| alarm rate | without trouble | with | left out: without | with |\n|--:|--:|--:|--:|--:|")
    for rate in RATES:
        cells = [
            [few <= rate for calm, few in all_ if calm is which] for all_ in (told, left_out) for which in (True, False)
        ]
        print(f"| {rate} |", " | ".join(f"{sum(some)} of {len(some)}" for some in cells), "|")


if __name__ == "__main__":
    main()
