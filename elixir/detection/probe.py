"""The one door from detection to networks and pixels."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from torch import Tensor

LogProbabilities = Callable[[np.ndarray], np.ndarray]
"""From indices of samples, int64 (n,), to log-probabilities of the labels, float32 (n, k)."""


class Images(Protocol):
    """The images of all samples at the working size, read a few at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image: (3, s, s)."""
        ...

    def read(self, indices: np.ndarray, /) -> Tensor:
        """uint8 (n, 3, s, s) for int64 (n,)."""
        ...


class GroupProbe(Protocol):
    """Answers what detectors ask about groups of samples."""

    @property
    def pixels(self) -> Images:
        """The images as they are."""
        ...

    @property
    def purified(self) -> Images:
        """One purification of each."""
        ...

    def transfer(self, label: int, change: Tensor) -> float:
        """Mean probability of a label, by the reference model, on images of other labels (the carriers) plus a change.

        The change is (3, s, s) in grey levels.
        """
        ...

    def holdout_model(self, seen: np.ndarray, number: int) -> LogProbabilities:
        """Train a model on these samples (int64) and their given labels, and return what it reads in others.

        A label of which it has seen less than of others is read less often, whatever the images show; so it counts as
        if it had seen the same share of all, by log(samples / samples seen) of each label (Saerens et al. 2002).
        `number` tells it from those that have seen other samples.
        """
        ...

    def half_model(self, seen: np.ndarray, number: int) -> LogProbabilities:
        """Train a model on samples (int64) of half of the labels, in half the steps; what it reads in all others.

        Args:
            number: of the half, 0 or 1.
        """
        ...

    def recognizer_log_odds(self, number: int, groups: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Train two classifiers for which each group is a class of its own, and let each read the other's half.

        Args:
            number: of the round.
            groups: label -> indices of its group, int64.

        Returns:
            For every label: log-odds that a sample is of the group rather than of the rest of the label, float64 (n,)
            for all samples; 0 for those of other labels.
        """
        ...
