"""The group of one label's samples that noisy evidence points at, and which samples belong to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import expit, logit
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold

LEAST = 5  # samples on either side, and folds
SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity
STABLE = 0.01  # share of samples that may still change sides
ROUNDS = 10
EVEN = 1e-4  # variance of one value below which it is the same everywhere
TINY = 1e-15  # distance of probabilities from 0 and 1
HARDLY = 0.05  # probability of belonging to a group below which one value says nothing


def sharpen(features: np.ndarray, group: np.ndarray, others: np.ndarray, seed: int) -> np.ndarray:
    """Probability of belonging to the group that noisy marks point at, by features alone.

    Poisoned samples of one label lie together in the features of a model that has learned the trigger. Linear
    discriminant analysis learns the marks from other samples' features and so corrects them for each sample
    (cross-fitted). Both sides count alike, however few samples are marked.

    Args:
        features: of the reference model, (n, d).
        group: bool (n,), samples marked as belonging to it.
        others: bool (n,), samples marked as not belonging to it; what is on neither side is judged, not learned from.
        seed: of the folds.

    Returns:
        float64 (n,) in [0,1]; zeros where either side is too small to learn from.
    """
    if min(group.sum(), others.sum()) < LEAST:
        return np.zeros(len(group))
    side = np.where(group, 1, np.where(others, 0, -1))
    if (side < 0).sum() < LEAST:  # too few to spread over the folds
        side = group.astype(int)
    probability = np.empty(len(group))
    for seen, unseen in StratifiedKFold(LEAST, shuffle=True, random_state=seed).split(side, side):
        marked = seen[side[seen] >= 0]
        probability[unseen] = resembling(features[marked], side[marked] == 1)(features[unseen])
    return probability


def sharpen_again(
    features: np.ndarray, suspicion: np.ndarray, seed: int, mark: float = 0.2, clear: float = 0.005
) -> np.ndarray:
    """The same once more, learned from the samples that the first time was sure about.

    Args:
        features: of the reference model, (n, d).
        suspicion: what `sharpen` has returned, (n,).
        seed: of the folds.
        mark: suspicion from which a sample counts as one of the group.
        clear: suspicion below which it counts as none; if there are hardly any, all that are not of the group do.

    Returns:
        float64 (n,) in [0,1]; `suspicion` itself where either side is too small to learn from.
    """
    group, others = suspicion > mark, suspicion < clear
    if others.sum() < LEAST:
        others = ~group
    if min(group.sum(), others.sum()) < LEAST:
        return suspicion
    return sharpen(features, group, others, seed)


def sharpen_until_stable(
    features: np.ndarray, suspicion: np.ndarray, seed: int, mark: float = 0.2, clear: float = 0.005
) -> np.ndarray:
    """`sharpen_again` until hardly a sample changes sides: a group of which half was seen grows to the whole.

    From the second time on the mark is 0.5: a lower one lets the group drift into the others.

    Args:
        features: see `sharpen_again`.
        suspicion: likewise.
        seed: likewise.
        mark: likewise.
        clear: likewise.

    Returns:
        float64 (n,) in [0,1].
    """
    for _ in range(ROUNDS):
        before, suspicion, mark = suspicion, sharpen_again(features, suspicion, seed, mark, clear), 0.5
        if np.mean((suspicion > 0.5) != (before > 0.5)) < STABLE:
            break
    return suspicion


def sharpen_with(features: np.ndarray, evidence: np.ndarray, suspicion: np.ndarray, seed: int) -> np.ndarray:
    """`sharpen_until_stable` where samples show something of their own, which keeps the group from drifting.

    By features alone a small group takes in samples of the label that look a little like it, the next time those that
    look like these, and so on; hardly any of them shows the evidence. Features and evidence count as independent
    witnesses (naive Bayes), each by linear discriminant analysis, and the two sides by their share of the samples.

    Args:
        features: of the reference model, (n, d).
        evidence: of each sample, in [0,1], (n,): its cause, or what noise takes away (see `elixir.detection.evidence`).
        suspicion: what `sharpen` has returned, (n,).
        seed: of the folds.

    Returns:
        float64 (n,) in [0,1]; `suspicion` itself where either side is too small to learn from.
    """
    group = suspicion > 0.5
    for _ in range(ROUNDS):
        if min(group.sum(), (~group).sum()) < LEAST:
            break
        alike = sharpen(features, group, ~group, seed).clip(TINY, 1 - TINY)
        suspicion = expit(logit(alike) + _odds(evidence, group) + logit(group.mean()))
        before, group = group, suspicion > 0.5
        if np.mean(group != before) < STABLE:
            break
    return suspicion


def resembling(features: np.ndarray, group: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Linear discriminant analysis of the directions of features: both sides count alike.

    Args:
        features: (n, d).
        group: bool (n,), with at least one sample on either side.

    Returns:
        A function from features (m, d) to the probability of belonging to the group, float64 (m,).
    """
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE, priors=[0.5, 0.5])
    model.fit(_directions(features), group)
    return lambda others: model.predict_proba(_directions(others))[:, 1]


def by_odds(odds: np.ndarray, group: np.ndarray, apart: float = 0.0) -> np.ndarray:
    """Probability of belonging to a group by one value alone: linear discriminant analysis, both sides count alike.

    The samples that are more likely of the group than not join it, until none is left. Of those that hardly can be of
    it the value says nothing, and of nobody if it does not tell the two apart.

    Args:
        odds: of every sample, (n,).
        group: bool (n,), samples that belong to it; most of the others do not.
        apart: deviations that have to lie between the means of the two.

    Returns:
        float64 (n,), 0 or above `HARDLY`; zeros where either side is too small to learn from, or they are not apart.
    """
    probability = np.zeros(len(odds))
    for _ in range(ROUNDS):
        if min(group.sum(), (~group).sum()) < LEAST:
            break
        probability = expit(_odds(odds, group))
        before, group = group, group | (probability > 0.5)
        if (group == before).all():
            break
    return np.where((probability > HARDLY) & (_deviations_apart(odds, group) >= apart), probability, 0.0)


def _odds(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Log-odds by one value that a sample is of a group: linear discriminant analysis, both sides count alike."""
    inside, outside = values[group].mean(), values[~group].mean()
    within = max(_centred(values, group).var(), EVEN)
    return (values - (inside + outside) / 2) * (inside - outside) / within


def _deviations_apart(values: np.ndarray, group: np.ndarray) -> float:
    """By how much the mean of a group is above that of the rest, in deviations within the two."""
    if not 0 < group.sum() < len(group):
        return 0.0
    return float((values[group].mean() - values[~group].mean()) / max(_centred(values, group).std(), 1e-12))


def _centred(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Values less the mean of their own side."""
    return values - np.where(group, values[group].mean(), values[~group].mean())


def _directions(features: np.ndarray) -> np.ndarray:
    unit = features.astype(np.float64)
    return unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
