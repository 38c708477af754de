"""The detector whose models have never seen the label: what they read in its samples."""

from typing import ClassVar

import numpy as np

from elixir.detection.alarm_rate import UNSEEN, Usual
from elixir.detection.evidence import Candidate, Evidence
from elixir.detection.grouping import self_train_step
from elixir.detection.holdout import holdout_split
from elixir.randomness import Draw, generator


class UnseenLabel:
    """Samples that show all kinds of other labels to a model that has never seen theirs.

    Two models learn one half of the labels each, and read the samples of the other half. What has never seen a label
    cannot have learned its trigger, whether that survives purification or not. Its benign samples look like a few other
    labels to such a model, and are strange otherwise; an attack brings samples of every label, at one rate:

        rate = sum n_j / ((1 - unseen_typicality) sum N_j)

    over the labels j that the model knows, but for the share `similar_labels` of them with the greatest n_j / N_j. Of
    N_j samples in all, n_j of this label look more like j than a share `unseen_typicality` of such that the model has
    not learned either (a conformal test, Vovk et al. 2005).

    score = rate * samples of other labels / samples of this one, the mislabeled fraction. How much of it means anything
    depends on how much the labels of a set look like each other, so it is compared with that of the median label.
    """

    name: ClassVar[str] = "unseen_label"
    usual: ClassVar[Usual | None] = UNSEEN

    def __init__(self, evidence: Evidence) -> None:
        label = evidence.scores.label
        self._shown = np.full(len(label), -1)
        """Label that a sample shows to the model that has never seen its own, unless by chance; else -1."""
        self._fraction: dict[int, float] = {}
        self._resolution: dict[int, float] = {}
        """Mislabeled fraction of each label that one sample makes."""
        for one in (0, 1):
            self._read(evidence, np.flatnonzero(evidence.half != one), one)

    def _read(self, evidence: Evidence, withheld: np.ndarray, number: int) -> None:
        """Train a model without some samples, those of half of the labels, and find what it reads in them."""
        label, thresholds = evidence.scores.label, evidence.thresholds
        rng = generator(evidence.seed, Draw.UNSEEN_LABEL, number)
        seen, unseen = holdout_split(label, withheld, thresholds.holdout_fraction, rng)
        known = np.unique(label[unseen])
        if len(known) < thresholds.min_known_labels:
            return
        predict = evidence.probe.half_model(seen, number)
        total = np.bincount(label)[known]
        similar = int(np.ceil(thresholds.similar_labels * len(known)))
        of_label = np.split(unseen, np.flatnonzero(np.diff(label[unseen])) + 1)
        own = [_margins(predict(some)[:, known])[:, place] for place, some in enumerate(of_label)]
        least = np.array([np.quantile(margin, thresholds.unseen_typicality) for margin in own])
        for one in np.unique(label[withheld]).tolist():
            members = evidence.scores.members(one)
            margins = _margins(predict(members)[:, known])
            read = margins.argmax(1)
            typical = margins[np.arange(len(members)), read] >= least[read]
            shown = np.bincount(read[typical], minlength=len(known))
            counted = np.argsort(shown / total, kind="stable")[: len(known) - similar]
            rate = 1 / total[counted].sum() / (1 - thresholds.unseen_typicality)
            self._resolution[one] = float(rate * (len(label) - len(members)) / len(members))
            self._fraction[one] = float(shown[counted].sum() * self._resolution[one])
            self._shown[members] = np.where(typical & np.isin(read, counted), known[read], -1)

    def propose(self, evidence: Evidence, label: int, members: np.ndarray) -> Candidate:
        fraction, nothing = self._fraction.get(label, 0.0), Candidate(self.name, members, np.zeros(len(members)))
        if not fraction:
            return nothing
        seeded = evidence.seeded_group(members, self._shown[members] >= 0)
        posterior = self_train_step(evidence.scores.features_of(members), seeded, evidence.seed, evidence.thresholds)
        if len(evidence.group(members, posterior)) < evidence.thresholds.min_group_size:
            return nothing
        median = float(np.median([of_other for other, of_other in self._fraction.items() if other != label]))
        times = fraction / (median + self._resolution[label])
        found = {"median_label": median, "times": times}
        return Candidate(self.name, members, posterior, min(fraction, 1.0), found, float(np.log(times)))


def _margins(logp: np.ndarray) -> np.ndarray:
    """By how much each of k log-probabilities exceeds the greatest of the others, (n, k), k >= 2."""
    second, best = np.split(np.partition(logp, -2, axis=1)[:, -2:], 2, axis=1)
    return logp - np.where(logp == best, second, best)
