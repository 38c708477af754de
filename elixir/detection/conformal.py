"""How rare a score is among those of benign samples: conformal p-values (Vovk, Gammerman, Shafer 2005)."""

import numpy as np


def p_values(scores: np.ndarray, benign: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Share of benign samples that are at least as strange, for m new samples: (1 + how many of n) / (n + 1).

    A benign sample is scored by the one of k models that has not learned from it, a new one by all of them and compared
    with the benign ones of each (cross-conformal, Vovk 2015). If the new sample is another one of their kind, its
    p-value is <= p with a probability of about p, whatever the models are worth.

    Args:
        scores: of the new samples, high for strange ones, (m, k).
        benign: of the benign ones, (n,).
        fold: which model has scored them, int (n,), each in 0..k-1.

    Returns:
        float64 (m,) in (0,1], in steps of 1 / (n + 1).
    """
    stranger = np.zeros(len(scores))
    for model in range(scores.shape[1]):
        own = np.sort(benign[fold == model])
        stranger += len(own) - np.searchsorted(own, scores[:, model], "left")
    return (1 + stranger) / (len(benign) + 1)


def attainable_rate(wanted: float, benign: int) -> float:
    """The false-alarm rate of naming all samples with p-values up to it: `wanted`, or the least that n can state."""
    return max(wanted, 1 / (benign + 1))
