"""Posterior of belonging to a group of one label's samples, learned from noisy seeds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg import solve
from scipy.special import expit, logit
from sklearn.model_selection import StratifiedKFold

from elixir.data.pixels import in_parts
from elixir.detection.thresholds import Thresholds

EPSILON = 1e-15  # distance of posteriors from 0 and 1 before their logarithm is taken
AT_ONCE = 4096  # samples whose features are in memory together


class Rows(Protocol):
    """Features (n, d), which are read where they are looked at; an array is one."""

    def __getitem__(self, indices: np.ndarray, /) -> np.ndarray:
        """Those at int64 indices (m,), (m, d)."""
        ...


@dataclass(frozen=True)
class SomeRows:
    """Rows of others, by int64 indices (n,), without a copy of them."""

    features: Rows
    indices: np.ndarray

    def __getitem__(self, indices: np.ndarray, /) -> np.ndarray:
        return self.features[self.indices[indices]]


def crossval_lda(
    features: Rows, inside: np.ndarray, outside: np.ndarray, seed: int, thresholds: Thresholds
) -> np.ndarray:
    """Posterior by features (n, d) alone, from a cross-fitted linear discriminant analysis with equal priors.

    Poisoned samples of one label lie together in the features of a model that has learned the trigger. As each sample's
    posterior is learned from others, wrong seeds are corrected.

    Args:
        inside: seeds of the group, bool (n,).
        outside: seeds of the rest, bool (n,); from a sample that is neither nothing is learned.

    Returns:
        float64 (n,) in [0,1]; zeros if either side has fewer samples than folds.
    """
    folds = thresholds.lda_folds
    if min(inside.sum(), outside.sum()) < folds:
        return np.zeros(len(inside))
    side = np.where(inside, 1, np.where(outside, 0, -1))
    if (side < 0).sum() < folds:  # too few to spread over the folds
        side = inside.astype(int)
    posterior = np.empty(len(inside))
    for seen, unseen in StratifiedKFold(folds, shuffle=True, random_state=seed).split(side, side):
        learned = seen[side[seen] >= 0]
        posterior_of = fit_lda(SomeRows(features, learned), side[learned] == 1, thresholds)
        for part in in_parts(unseen, AT_ONCE):
            posterior[part] = posterior_of(features[part])
    return posterior


def self_train_step(
    features: Rows, posterior: np.ndarray, seed: int, thresholds: Thresholds, positive: float | None = None
) -> np.ndarray:
    """`crossval_lda` once more, learned from the samples with a high or low posterior, which is (n,) as the result is.

    Samples above `positive`, by default `positive_threshold`, count as inside, and those below `negative_threshold` as
    outside, or all others if there are hardly any. If either side is too small, the posterior stays as it is.
    """
    inside = posterior > (thresholds.positive_threshold if positive is None else positive)
    outside = posterior < thresholds.negative_threshold
    if outside.sum() < thresholds.lda_folds:
        outside = ~inside
    if min(inside.sum(), outside.sum()) < thresholds.lda_folds:
        return posterior
    return crossval_lda(features, inside, outside, seed, thresholds)


def self_train(features: Rows, posterior: np.ndarray, seed: int, thresholds: Thresholds) -> np.ndarray:
    """`self_train_step` until hardly a sample changes sides: a group of which half was seen grows to the whole.

    From the second step on a sample counts as inside above `min_posterior`, as a lower threshold lets the group drift.
    """
    positive = thresholds.positive_threshold
    for _ in range(thresholds.max_rounds):
        before, posterior = posterior, self_train_step(features, posterior, seed, thresholds, positive)
        positive = thresholds.min_posterior
        if np.mean((posterior > positive) != (before > positive)) < thresholds.max_change:
            break
    return posterior


def self_train_with_score(
    features: Rows, score: np.ndarray, posterior: np.ndarray, seed: int, thresholds: Thresholds
) -> np.ndarray:
    """`self_train` by features and a score of each sample's own in [0,1], which keeps the group from drifting.

    Naive Bayes: logit(posterior) = logit(LDA of the features) + log-odds by the score + logit(share of the group).
    If either side is too small, the posterior stays as it is.
    """
    inside = posterior > thresholds.min_posterior
    for _ in range(thresholds.max_rounds):
        if min(inside.sum(), (~inside).sum()) < thresholds.lda_folds:
            break
        by_features = crossval_lda(features, inside, ~inside, seed, thresholds).clip(EPSILON, 1 - EPSILON)
        posterior = expit(logit(by_features) + _log_odds(score, inside, thresholds) + logit(inside.mean()))
        before, inside = inside, posterior > thresholds.min_posterior
        if np.mean(inside != before) < thresholds.max_change:
            break
    return posterior


def fit_lda(features: Rows, inside: np.ndarray, thresholds: Thresholds) -> Callable[[np.ndarray], np.ndarray]:
    """Linear discriminant analysis of the directions of features (n, d), with equal priors; both sides have samples.

    log-odds = w . (x - (m1 + m0) / 2) with w = S^-1 (m1 - m0), where S is the mean covariance of the two sides, shrunk
    towards a multiple of the identity (scikit-learn's "lsqr" finds the same by a singular value decomposition, slowly).

    Returns:
        A function from features (m, d) to posteriors of being inside, float64 (m,).
    """
    shrinkage = thresholds.lda_shrinkage
    (m1, first), (m0, second) = (_moments(features, np.flatnonzero(side)) for side in (inside, ~inside))
    covariance = (first + second) / 2
    ridge = max(shrinkage * np.trace(covariance) / len(m1), EPSILON)
    w = solve((1 - shrinkage) * covariance + ridge * np.eye(len(m1)), m1 - m0, assume_a="pos")
    return lambda others: expit((_unit_length(others) - (m1 + m0) / 2) @ w)


def _moments(features: Rows, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and covariance (d, d) of the directions of some features."""
    mean = np.sum([_unit_length(features[part]).sum(0) for part in in_parts(side, AT_ONCE)], axis=0) / len(side)
    products = np.zeros((len(mean), len(mean)))
    for part in in_parts(side, AT_ONCE):
        centred = _unit_length(features[part]) - mean
        products += centred.T @ centred
    return mean, products * (1 / len(side))


def lda_1d(score: np.ndarray, inside: np.ndarray, thresholds: Thresholds) -> np.ndarray:
    """Posterior by a single score: linear discriminant analysis with equal priors.

    Samples with a posterior above `min_posterior` join the group, until none is left that does.

    Args:
        inside: samples that belong to the group, bool (n,); most of the others do not.

    Returns:
        float64 (n,). Posteriors below `min_single_posterior` become 0; all do if either side is too small, or d' is
        below `min_d_prime`.
    """
    posterior = np.zeros(len(score))
    for _ in range(thresholds.max_rounds):
        if min(inside.sum(), (~inside).sum()) < thresholds.lda_folds:
            break
        posterior = expit(_log_odds(score, inside, thresholds))
        before, inside = inside, inside | (posterior > thresholds.min_posterior)
        if (inside == before).all():
            break
    told_apart = (posterior > thresholds.min_single_posterior) & (_d_prime(score, inside) >= thresholds.min_d_prime)
    return np.where(told_apart, posterior, 0.0)


def qda_1d(score: np.ndarray, inside: np.ndarray, thresholds: Thresholds) -> np.ndarray:
    """Posterior by a single score: quadratic discriminant analysis, for a group that varies more than the rest does.

    Both sides are normal, with variances of their own, and learned anew until hardly a sample changes sides. Nothing
    is of the group that lies beyond the mean of the rest.

    Args:
        inside: samples that belong to the group, bool (n,).

    Returns:
        float64 (n,). Posteriors below `min_single_posterior` become 0; all do if either side is too small.
    """
    posterior = np.zeros(len(score))
    for _ in range(thresholds.max_rounds):
        if min(inside.sum(), (~inside).sum()) < thresholds.lda_folds:
            break
        (m1, v1), (m0, v0) = (
            (side.mean(), max(side.var(), thresholds.variance_floor)) for side in (score[inside], score[~inside])
        )
        log_odds = logit(inside.mean()) + (np.log(v0 / v1) + (score - m0) ** 2 / v0 - (score - m1) ** 2 / v1) / 2
        posterior = expit(log_odds) * ((score - m0) * (m1 - m0) > 0)
        before, inside = inside, posterior > thresholds.min_posterior
        if np.mean(inside != before) < thresholds.max_change:
            break
    return np.where(posterior > thresholds.min_single_posterior, posterior, 0.0)


def _log_odds(score: np.ndarray, inside: np.ndarray, thresholds: Thresholds) -> np.ndarray:
    """(x - (m1 + m0) / 2) (m1 - m0) / variance within the two sides."""
    mean, other = score[inside].mean(), score[~inside].mean()
    variance = max(_centred(score, inside).var(), thresholds.variance_floor)
    return (score - (mean + other) / 2) * (mean - other) / variance


def _d_prime(score: np.ndarray, inside: np.ndarray) -> float:
    """(m1 - m0) / standard deviation within the two sides; 0 if one of them is empty."""
    if not 0 < inside.sum() < len(inside):
        return 0.0
    return float((score[inside].mean() - score[~inside].mean()) / max(_centred(score, inside).std(), 1e-12))


def _centred(score: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Scores less the mean of their own side."""
    return score - np.where(inside, score[inside].mean(), score[~inside].mean())


def _unit_length(features: np.ndarray) -> np.ndarray:
    wide = features.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
