"""Certified accuracy: what the certificates of a test set are worth together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elixir.certification.ledger import Row
from elixir.statistics import binomial_interval

STEP = 0.25
AVERAGED = (0.0, 0.25, 0.5, 0.75)


def radii_up_to(largest: float) -> list[float]:
    """0, .25, .5, .75 and on in the same steps as far as a radius can reach."""
    return [STEP * step for step in range(max(len(AVERAGED), int(largest / STEP) + 1))]


def accuracies(rows: Sequence[Row], sigmas: Sequence[float], radii: Sequence[float]) -> dict[str, Any]:
    """Certified accuracy for each noise level and for the best one at each radius; shares of all images in [0,1].

    Args:
        rows: of the same images at every noise level.
        sigmas: the noise levels.
        radii: L2, in [0,1] pixel units, with 0, .25, .5 and .75 among them.

    Returns:
        `sigmas`: for each, lists over the radii: `certified` (the true label at this radius or a larger one), `wrong`
        (another label), and `abstained` (the rest: no label at this radius).
        `best`: for each radius `certified` of the noise level where that is highest, with exact 95% intervals (of one
        level chosen beforehand), its `sigma` and its share `abstained`.
        `average`: mean of the best over the radii 0, .25, .5, .75.
    """
    levels = {sigma: _level([row for row in rows if row.sigma == sigma], radii) for sigma in sigmas}
    images = len(rows) // len(sigmas)
    best: list[dict[str, float]] = []
    for place, radius in enumerate(radii):
        sigma = max(levels, key=lambda sigma: (levels[sigma]["certified"][place], -sigma))
        share, abstained = (levels[sigma][key][place] for key in ("certified", "abstained"))
        low, high = binomial_interval(round(share * images), images)
        best.append(
            {
                "radius": radius,
                "sigma": sigma,
                "certified": share,
                "low": low,
                "high": high,
                "abstained": abstained,
            }
        )
    average = sum(entry["certified"] for entry in best if entry["radius"] in AVERAGED) / len(AVERAGED)
    return {
        "sigmas": [{"sigma": sigma, **level} for sigma, level in levels.items()],
        "best": best,
        "average": average,
    }


def _level(rows: list[Row], radii: Sequence[float]) -> dict[str, list[float]]:
    def share(radius: float, right: bool) -> float:
        claimed = (row for row in rows if not row.certificate.abstained and row.certificate.radius >= radius)
        return sum(row.right == right for row in claimed) / len(rows)

    certified = [share(radius, right=True) for radius in radii]
    wrong = [share(radius, right=False) for radius in radii]
    abstained = [1 - sum(pair) for pair in zip(certified, wrong, strict=True)]
    return {"certified": certified, "wrong": wrong, "abstained": abstained}
