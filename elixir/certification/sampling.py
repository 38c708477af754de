"""Prediction and certification of one image from noise draws (Cohen et al. 2019, section 3.2), as generators."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.special import betainc, ndtri

from elixir.errors import ElixirError
from elixir.statistics import binomial_lower, binomial_upper

T = TypeVar("T")
Sampling = Generator[int, np.ndarray, T]
"""Yields how many draws it needs next, is sent their predicted labels, int64, and returns the outcome: the statistics
know nothing of networks, and many images can share their batches."""

ABSTAIN = -1
BLOCK = 100  # draws that are made at once, at most
BLOCK_PIXELS = 2**23  # pixels of the draws that are made at once


@dataclass(frozen=True)
class Certificate:
    """A smoothed prediction for one image.

    Attributes:
        prediction: the label most frequent among the first draws, certified or not.
        abstained: whether nothing is certified; the bound is then less than 1/2.
        radius: L2, in [0,1] pixel units, within which the prediction cannot change; 0 when abstained.
        p_lower: lower bound of the probability that a noisy image gets the predicted label.
        hits: draws with the predicted label, without those that chose it.
        draws: all draws, without those; fewer than asked for where it was stopped early.
    """

    prediction: int
    abstained: bool
    radius: float
    p_lower: float
    hits: int
    draws: int


def check(alpha: float, *draws: int) -> None:
    """Raise an ElixirError unless alpha is in (0,1) and every number of draws is 1 or more."""
    if not 0 < alpha < 1:
        raise ElixirError(f"alpha is a probability between 0 and 1, not {alpha:g}")
    if min(draws) < 1:
        raise ElixirError("there must be at least one draw")


def certified_radius(sigma: float, lower: float) -> float:
    """L2 radius within which a smoothed prediction cannot change: sigma * Phi^-1(pA) (Cohen et al. 2019, theorem 1).

    `lower`, less than 1, bounds the probability pA of the predicted class, and 1 - pA is that of any other; 0 for pA of
    1/2 or less.
    """
    return sigma * float(ndtri(lower)) if lower > 0.5 else 0.0


def largest_radius(sigma: float, draws: int, alpha: float) -> float:
    """The radius where every draw is a hit: more cannot be certified with so many draws."""
    return certified_radius(sigma, binomial_lower(draws, draws, alpha))


def block_size(height: int, width: int) -> int:
    """Draws of an image that are made at once; depends on its size alone."""
    return max(1, min(BLOCK, BLOCK_PIXELS // (height * width)))


def certifying(
    sigma: float, n0: int, n: int, alpha: float, adaptive: bool = False, block: int = BLOCK
) -> Sampling[Certificate]:
    """Choose a label with `n0` draws, and bound its probability with `n` others (`Certify` of Cohen et al. 2019).

    With probability 1 - alpha or more a certified radius is true. `adaptive` keeps this: a radius always rests on all
    `n` draws, and only abstentions are made early. That is when abstention is certain even if all draws to come are
    hits, or when the upper bound (at `alpha`) of the probability is less than 1/2 after any block. The second costs a
    certificate only if the label has a probability above 1/2 and yet a bound for it fails, which after one block has
    probability alpha or less. No radius is certified early: the part of alpha that this would spend makes all smaller.

    Args:
        sigma: deviation of the noise in [0,1] pixel units.
        block: most draws that are asked for at once.
    """
    counts = np.zeros(2, np.int64)
    for size in _blocks(n0, block):
        counts = _counted((yield size), counts)
    top = int(counts.argmax())
    hits = draws = 0
    for size in _blocks(n, block):
        hits += int(((yield size) == top).sum())
        draws += size
        most = hits + n - draws
        if adaptive and (binomial_lower(most, n, alpha) < 0.5 or binomial_upper(hits, draws, alpha) < 0.5):
            break
    lower = binomial_lower(hits, draws, alpha)
    return Certificate(top, lower < 0.5, certified_radius(sigma, lower), lower, hits, draws)


def predicting(n: int, alpha: float, block: int = BLOCK) -> Sampling[int]:
    """The most frequent label, or `ABSTAIN` if it is not sure to be the most probable (`Predict` of Cohen et al. 2019).

    With probability 1 - alpha or more the outcome is the most probable label or an abstention: the two most frequent
    labels are compared by a two-sided binomial test. Stops as soon as the draws to come, of `n`, cannot change the
    outcome.
    """
    counts, left = np.zeros(2, np.int64), n
    for size in _blocks(n, block):
        counts, left = _counted((yield size), counts), left - size
        second, first = (int(count) for count in np.sort(counts)[-2:])
        if _significant(first, second + left, alpha):
            break
        if not _significant(first + left, second, alpha):
            return ABSTAIN
    return int(counts.argmax())


def _blocks(draws: int, block: int) -> Iterator[int]:
    yield from (min(block, draws - start) for start in range(0, draws, block))


def _counted(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How often each label came, on top of what came before."""
    more = np.bincount(labels, minlength=len(counts))
    more[: len(counts)] += counts
    return more


def _significant(first: int, second: int, alpha: float) -> bool:
    """Whether a fair coin gives such counts, or ones further apart, with probability alpha or less."""
    return first > second and 2 * float(betainc(first, second + 1, 0.5)) <= alpha
