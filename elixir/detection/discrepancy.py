"""Which labels behave unlike the others: DataElixir's distribution discrepancy, as published and repaired.

Both rules see, for each label i, the predictions left of the anomalous samples with that training label; q_i is the
share of them that still says i, and KL(onehot_i || q) = -log q_i the metric (arXiv 2312.11057).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

CONSISTENCY = 1.4826  # times the median absolute deviation is the standard deviation of a Gaussian


@dataclass(frozen=True)
class Discrepancy:
    """Per label; arrays (k,).

    Attributes:
        metric: -log q_i, in nats.
        score: distance of the metric from the median of all, in robust deviations.
        flagged: whether the label counts as attacked.
        confidence: chance that none of k clean labels with Gaussian metrics would score as high, in [0,1].
    """

    metric: np.ndarray
    score: np.ndarray
    flagged: np.ndarray
    confidence: np.ndarray


def published(matching: np.ndarray, total: np.ndarray, threshold: float) -> Discrepancy:
    """The rule as published: no smoothing, both sides.

    A label without anomalous samples makes every score NaN, and then silently nothing is flagged. On clean data with
    Gaussian metrics a threshold of 2 flags at least one label with probability 0.52 (10 labels), 0.84 (43), 0.97 (100).

    Args:
        matching: predictions left that equal the label, (k,).
        total: all predictions left, (k,).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        metric = -np.log(matching / total)
    score = published_score(metric)
    return Discrepancy(metric, score, score > threshold, (1 - 2 * norm.sf(score)) ** len(score))


def repaired(
    matching: np.ndarray,
    total: np.ndarray,
    samples: np.ndarray,
    minimum: int,
    threshold: float,
    min_deviation: float,
) -> Discrepancy:
    """Smoothed, one-sided, and silent about labels with few anomalous samples.

    Every label counts as having one more anomalous sample that stays true to it, so a label without any has metric 0.

    Args:
        matching: as in `published`, like `total`.
        samples: anomalous samples, (k,).
        minimum: anomalous samples that a label must have to be flagged.
    """
    one = total.sum() / max(1, samples.sum())
    metric = -np.log((matching + one) / (total + one)) if one else np.zeros(len(matching))
    score = repaired_score(metric, min_deviation)
    return Discrepancy(metric, score, (score > threshold) & (samples >= minimum), norm.cdf(score) ** len(score))


def published_score(metric: np.ndarray) -> np.ndarray:
    """|metric - median| / (1.4826 MAD); NaN and infinity as floating point gives them."""
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.abs(metric - np.median(metric))
        return away / (CONSISTENCY * np.median(away))


def repaired_score(metric: np.ndarray, min_deviation: float) -> np.ndarray:
    """(metric - median) / max(1.4826 MAD, min_deviation), signed."""
    away = metric - np.median(metric)
    return away / max(CONSISTENCY * float(np.median(np.abs(away))), min_deviation)
