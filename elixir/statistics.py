"""Exact confidence bounds of a binomial probability (Clopper and Pearson 1934)."""

from __future__ import annotations

from scipy.special import betaincinv


def binomial_lower(hits: int, trials: int, alpha: float) -> float:
    """Lower confidence bound of the probability of a hit; the probability lies above it with confidence 1 - alpha.

    Args:
        hits: 0 to `trials`.
        trials: independent ones, 0 or more.
        alpha: one-sided, in (0,1).

    Returns:
        In [0,1): the alpha-quantile of Beta(hits, trials - hits + 1); 0 without hits, alpha^(1/trials) if all are hits.
    """
    return float(betaincinv(hits, trials - hits + 1, alpha)) if hits else 0.0


def binomial_upper(hits: int, trials: int, alpha: float) -> float:
    """Upper confidence bound of the probability of a hit; see `binomial_lower`.

    Returns:
        In (0,1]: the (1 - alpha)-quantile of Beta(hits + 1, trials - hits); 1 if all are hits, as without trials.
    """
    return float(betaincinv(hits + 1, trials - hits, 1 - alpha)) if hits < trials else 1.0


def binomial_interval(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided confidence interval of the probability of a hit; (0, 1) without trials.

    Args:
        hits: 0 to `trials`.
        trials: independent ones, 0 or more.
        confidence: that the probability lies in the interval, in (0,1); one half of the rest on either side.
    """
    alpha = (1 - confidence) / 2
    return binomial_lower(hits, trials, alpha), binomial_upper(hits, trials, alpha)
