"""What the models of a run say of the run's own samples, so that new images can be compared with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir.data.columns import Columns
from elixir.detection.conformal import attainable_rate, p_values

_DROP = "trigger_drop_"


@dataclass(frozen=True)
class Calibration:
    """Readings of the n usable samples of a run.

    Attributes:
        label: given label, int (n,).
        benign: whether it was never flagged, bool (n,): what counts as clean here.
        poisoned: whether it was changed or set aside, bool (n,): what counts as poisoned.
        heldout_logp: log-probability of its label by a model that has not learned from it, float16 (n,).
        heldout_fold: which model that is, int (n,).
        trigger_drop: label under attack -> see `elixir.detection.trigger.trigger_drop`, float32 (n,).
    """

    label: np.ndarray
    benign: np.ndarray
    poisoned: np.ndarray
    heldout_logp: np.ndarray
    heldout_fold: np.ndarray
    trigger_drop: dict[int, np.ndarray]

    def columns(self) -> Columns:
        """As columns of a file."""
        drops = {f"{_DROP}{label}": drop for label, drop in self.trigger_drop.items()}
        return {name: value for name, value in vars(self).items() if name != "trigger_drop"} | drops

    @staticmethod
    def of_columns(columns: Columns) -> Calibration:
        """From the columns of a file. Raises: KeyError, TypeError or ValueError: they are others."""
        drops = {int(name.removeprefix(_DROP)): columns[name] for name in columns if name.startswith(_DROP)}
        others = {name: columns[name] for name in columns if not name.startswith(_DROP)}
        return Calibration(**others, trigger_drop=drops)

    def trigger_p(self, label: int, drop: np.ndarray) -> np.ndarray:
        """P-values of images without the trigger of a label, (m,), from how far its log-odds fall without it."""
        benign = self.trigger_drop[label][self.benign]
        return p_values(drop[:, None], benign, np.zeros(len(benign), int))

    def trigger_rate(self, wanted: float) -> float:
        """The false-alarm rate at which triggers are told, see `attainable_rate`."""
        return attainable_rate(wanted, int(self.benign.sum()))

    def known_found(self, label: int, rate: float) -> tuple[int, int]:
        """How many of the run's own poisoned samples of a label are found at a false-alarm rate, and of how many."""
        known = self.trigger_drop[label][self.poisoned & (self.label == label)]
        return int((self.trigger_p(label, known) <= rate).sum()), len(known)

    def benign_count(self, label: int) -> int:
        """Samples with which those of a label are compared."""
        return int((self.benign & (self.label == label)).sum())

    def label_p(self, label: int, logp: np.ndarray) -> np.ndarray:
        """P-values of images that show a label, (m,), from their log-probabilities by all held-out models, (m, k)."""
        benign = self.benign & (self.label == label)
        scores = -logp.astype(self.heldout_logp.dtype)  # as coarse as the others, so that equal ones are equal
        return p_values(scores, -self.heldout_logp[benign], self.heldout_fold[benign])

    def label_rate(self, label: int, wanted: float) -> float:
        """The false-alarm rate at which a label is denied, see `attainable_rate`."""
        return attainable_rate(wanted, self.benign_count(label))
