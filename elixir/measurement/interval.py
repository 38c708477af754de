"""How far a share can be trusted."""

from __future__ import annotations

from scipy.stats import binomtest


def exact_interval(hits: int, trials: int) -> tuple[float, float]:
    """The two-sided 95% interval of a share (Clopper and Pearson 1934); without trials it is everything.

    Args:
        hits: trials that count, 0 to `trials`.
        trials: all.
    """
    if not trials:
        return 0.0, 1.0
    interval = binomtest(hits, trials).proportion_ci(0.95, "exact")
    return float(interval.low), float(interval.high)
