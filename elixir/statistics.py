"""Exact confidence bounds of the probability of a hit in independent trials (Clopper and Pearson 1934)."""

from scipy.special import betaincinv


def binomial_lower(hits: int, trials: int, alpha: float) -> float:
    """Lower bound, in [0,1): the probability lies above it with confidence 1 - alpha.

    It is the alpha-quantile of Beta(hits, trials - hits + 1); 0 without hits, alpha^(1/trials) if all are hits.
    """
    return float(betaincinv(hits, trials - hits + 1, alpha)) if hits else 0.0


def binomial_upper(hits: int, trials: int, alpha: float) -> float:
    """Upper bound, in (0,1]: the probability lies below it with confidence 1 - alpha.

    It is the (1 - alpha)-quantile of Beta(hits + 1, trials - hits); 1 if all are hits, as without trials.
    """
    return float(betaincinv(hits + 1, trials - hits, 1 - alpha)) if hits < trials else 1.0


def binomial_interval(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval, with one half of what `confidence` leaves on either side; (0, 1) without trials."""
    alpha = (1 - confidence) / 2
    return binomial_lower(hits, trials, alpha), binomial_upper(hits, trials, alpha)
