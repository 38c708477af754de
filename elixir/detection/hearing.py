"""The four witnesses of the target stage, each heard about the samples of one label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from scipy.special import logit
from torch import Tensor

from elixir.detection.evidence import trigger_evidence
from elixir.detection.group import TINY, sharpen, sharpen_again
from elixir.detection.pattern import cut, split
from elixir.detection.reading import reference_sees
from elixir.detection.residual import mean_of, mean_residual
from elixir.detection.shares import DENIED, SURE, denied_beyond
from elixir.detection.spectrum import BANDS, Moments
from elixir.engine.run import Run
from elixir.randomness import generator

GAIN = 2.0  # averaging and purification leave about half of a trigger that covers the image
LOUDEST = 25.5  # root mean square of a transplanted pattern in grey levels: 20 dB


@dataclass(frozen=True)
class Testimony:
    """What one witness says about one label.

    Attributes:
        witness: its name.
        suspicion: of the label's samples, float64 (n,) in [0,1].
        score: in [0,1].
        evidence: what the score rests on, by name.
    """

    witness: str
    suspicion: np.ndarray
    score: float = 0.0
    evidence: dict[str, float] = field(default_factory=dict)


class Record:
    """The evidence of all readable samples, as the stages up to the cross-fitted models have left it.

    Attributes:
        run: whose evidence it is.
        features: of the reference model, (n, d).
        cause: see `trigger_evidence`, (n,).
        contradiction: likewise.
        denied: whether the cross-fitted models deny the label where the reference model is sure of it, bool (n,).
        everything: moments of all images in each of `BANDS`.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        probe, crossfit = run.columns("probe"), run.columns("crossfit")
        own = np.exp(crossfit["logp"], dtype=np.float32)
        self.features = run.column("reference", "features")
        self.cause, self.contradiction = trigger_evidence(
            probe["transplant"],
            probe["tile_transplant"],
            own,
            np.exp(crossfit["erased_logp"], dtype=np.float32),
            probe["drop"],
        )
        self.denied = (own < DENIED) & (np.exp(run.column("reference", "logp")) > SURE)
        self.everything = tuple(Moments.of(band, run.pixels, run.readable_rows()) for band in BANDS)


class Hearing:
    """What the witnesses say about one label.

    Args:
        record: the evidence.
        label: which.
        members: the label's samples among the readable ones, int64 (n,).
        mark: mean evidence from which a sample is marked.
        smallest: a group of fewer samples is no attack.
        hosts: images of other labels that receive what a group has in common.
    """

    def __init__(self, record: Record, label: int, members: np.ndarray, mark: float, smallest: int, hosts: int) -> None:
        self._run = record.run
        self._record = record
        self._label = label
        self._members = members
        self._mark = mark
        self._smallest = smallest
        self._hosts = hosts

    def testimonies(self) -> Iterator[Testimony]:
        """One witness after the other; a later one costs nothing before it is asked for."""
        yield self.trigger()
        yield self.caused()
        yield self.contradicted()
        yield self.pattern()

    def trigger(self) -> Testimony:
        """Both kinds of evidence in each sample.

        The cause is tried once more for the group as a whole: what purification takes away from its samples on average,
        a trigger and little else, is added to many hosts. Score: the stronger cause, the group's own or its samples'
        mean, times their mean contradiction.
        """
        record = self._record
        suspicion = self._pointed_at((record.cause + record.contradiction) / 2 > self._mark)
        group = self._members[suspicion > 0.5]
        if len(group) < self._smallest:
            return Testimony("trigger", suspicion)
        carried, against = float(record.cause[group].mean()), float(record.contradiction[group].mean())
        common = self._common(group)
        evidence = {"transplant": carried, "common_transplant": common, "contradiction": against}
        return Testimony("trigger", suspicion, max(carried, common) * against, evidence)

    def caused(self) -> Testimony:
        """The first kind alone, for triggers on images whose label is right.

        Score: the group's own cause; or, for triggers of which purification takes away little, the geometric mean of
        its samples' cause and of what the hosts show when they receive what the group has more than the rest of the
        label, no louder than `LOUDEST`, times how clearly the features fall into group and rest.
        """
        cause = self._record.cause
        suspicion = sharpen_again(self._features, self._pointed_at(cause > self._mark), self._run.seed)
        group = self._members[suspicion > 0.5]
        if len(group) < self._smallest:
            return Testimony("cause", suspicion)
        carried = float(cause[group].mean())
        common = self._common(group)
        more = self._transplant(self._difference(group, np.setdiff1d(self._members, group)))
        clear = cut(logit(suspicion.clip(TINY, 1 - TINY))).separation
        evidence = {
            "transplant": carried,
            "common_transplant": common,
            "difference_transplant": more,
            "separation": clear,
        }
        return Testimony("cause", suspicion, max(common, (carried * more) ** 0.5 * clear), evidence)

    def contradicted(self) -> Testimony:
        """The second kind alone, for triggers that differ in every image.

        Models that could not learn the trigger deny the label where the reference model is sure of it. Score: how much
        more of the group is denied than of all other samples, times the square root of the group's share of the label;
        hard benign samples make small groups.
        """
        denied = self._record.denied
        suspicion = self._pointed_at(denied)
        group = self._members[suspicion > 0.5]
        if len(group) < self._smallest:
            return Testimony("contradiction", suspicion)
        beyond, share = denied_beyond(denied[group], np.delete(denied, group)), len(group) / len(self._members)
        evidence = {"denied": float(denied[group].mean()), "beyond_others": beyond, "share": share}
        return Testimony("contradiction", suspicion, beyond * share**0.5, evidence)

    def pattern(self) -> Testimony:
        """Neither kind, for triggers that survive purification on images whose label is right.

        The samples fall into two groups by a pattern that other labels do not show (see `elixir.detection.pattern`); no
        marks are needed. Score: what the hosts show when they receive what the group has more than the rest, times how
        clearly the groups are two.
        """
        run, members = self._run, self._members
        fold = generator(run.seed, "pattern", self._label).permutation(len(members)) % 2
        found = split(run.pixels, run.readable_rows()[members], self._record.everything, fold)
        group = found.suspicion > 0.5
        if min(group.sum(), (~group).sum()) < self._smallest or not found.separation:
            return Testimony("pattern", np.zeros(len(members)))
        more = self._transplant(self._difference(members[group], members[~group]))
        evidence = {"separation": found.separation, "difference_transplant": more}
        return Testimony("pattern", found.suspicion, more * found.separation, evidence)

    @cached_property
    def _features(self) -> np.ndarray:
        return self._record.features[self._members]

    def _pointed_at(self, marked: np.ndarray) -> np.ndarray:
        """Probability for each member of belonging to the group that the marks of all samples point at."""
        mine = marked[self._members]
        return sharpen(self._features, mine, ~mine, self._run.seed)

    def _difference(self, group: np.ndarray, rest: np.ndarray) -> Tensor:
        """What the group has more than the rest on average, in grey levels (3, s, s); nothing without a rest."""
        run = self._run
        if not len(rest):
            return torch.zeros(run.pixels.shape)
        rows = run.readable_rows()
        difference = mean_of(run.pixels, rows[group]) - mean_of(run.pixels, rows[rest])
        return difference * min(1.0, LOUDEST / max(float(difference.square().mean().sqrt()), 1e-9))

    def _common(self, group: np.ndarray) -> float:
        """What hosts show of what purification takes away from a group's samples on average; see `_transplant`."""
        return self._transplant(GAIN * mean_residual(self._run, self._run.readable_rows()[group]))

    def _transplant(self, change: Tensor) -> float:
        """Mean probability of the label on hosts with something (grey levels, (3, s, s)) added."""
        run = self._run
        rows = run.readable_rows()
        others = rows[run.labels[rows] != self._label]
        chosen = generator(run.seed, "common hosts", self._label).permutation(others)[: self._hosts]
        return reference_sees(run, self._label, chosen, change)
