"""Which labels are under attack: proposals of detectors, their direct scores, and a held-out test of uncertain ones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from elixir.detection.alarm_rate import HOLDOUT, false_alarms
from elixir.detection.detectors import Detector, SpectralSplit, detectors
from elixir.detection.evidence import Candidate, Evidence
from elixir.detection.grouping import self_train, self_train_with_score
from elixir.detection.holdout import HeldOut, holdout_split, taken
from elixir.detection.reports import LabelReport, LabelTest
from elixir.randomness import Draw, generator
from elixir.statistics import binomial_lower

SEED, EXPANDED, NOISE_SENSITIVITY = "seed", "expanded", "noise_sensitivity"
SPLIT = SpectralSplit.name
PREFERRED = SPLIT, EXPANDED, NOISE_SENSITIVITY  # groups tested with a held-out model, the most exact first

GroupKey = tuple[int, str]  # label and detector


@dataclass(frozen=True)
class Detection:
    """What detection says of n samples.

    Attributes:
        reports: one for each label that has samples, in order.
        posterior: of belonging to the group of the detectors that put the label under attack, or else to that of its
            best direct score, float32 (n,).
        split_posterior: of belonging to one side of a well separated spectral split, float32 (n,); 0 where none is.
    """

    reports: tuple[LabelReport, ...]
    posterior: np.ndarray
    split_posterior: np.ndarray


def detect(evidence: Evidence, names: Sequence[str]) -> Detection:
    """Decide about every label: by its direct scores, else by `confirm`, else by all tests together."""
    label = evidence.scores.label
    posterior, split_posterior = np.zeros(len(label), np.float32), np.zeros(len(label), np.float32)
    reports: list[LabelReport] = []
    at_last: dict[int, tuple[LabelTest | None, np.ndarray]] = {}
    asked = detectors(evidence)
    for one, name in enumerate(names):
        members = evidence.scores.members(one)
        if not len(members):
            continue
        proposed = {detector.name: detector.propose(evidence, one, members) for detector in asked}
        tests = [_test(evidence, proposed[detector.name], detector) for detector in asked]
        direct = [test for test in tests if test.kind == "direct"]
        decided_by, group = _decided(direct, proposed, evidence)
        if not decided_by:
            group = proposed[max(direct, key=lambda test: test.score).detector].posterior
            at_last[one] = _decided(tests, proposed, evidence)
        posterior[members] = group
        split_posterior[members] = proposed[SPLIT].posterior
        reports.append(LabelReport(one, name, len(members), tuple(tests), decided_by))
    found = Detection(tuple(reports), posterior, split_posterior)
    confirmed = list(confirm(evidence, found))
    for place, report in enumerate(confirmed):
        decided_by, group = at_last.get(report.label, (None, None))
        if decided_by and not report.decided_by:
            posterior[evidence.scores.members(report.label)] = group
            confirmed[place] = replace(report, decided_by=decided_by, pattern=())
    return replace(found, reports=tuple(confirmed))


def confirm(evidence: Evidence, found: Detection) -> Iterator[LabelReport]:
    """Test groups of labels not under attack so far with models that have seen neither these nor attacked groups.

    Of a trigger that survives purification the cross-fitted models learn a part, and agree with the label here and
    there. A held-out model has seen nothing that speaks for it, so it reads the true label of poisoned samples as
    surely as of other samples that it has not seen; see `HeldOut`. Groups of a label whose best direct score reaches
    `candidate_threshold`:

    - "seed": that of the best direct score, which decides nothing;
    - "noise_sensitivity": its samples that lose their label with a little noise, for triggers that differ by image;

    and of any label that falls into two separated groups by its spectrum, one of them ("spectral_split"), as the
    reference model may not have learned its trigger at all. A model can learn the trigger from the poisoned samples
    outside the seed group, so where this reaches `retest_fraction` a second one tests

    - "expanded": what it grows to by features.

    Benign groups grow to most of their label: a first model that had seen none of that either would know too little.
    """
    doubtful = [report for report in found.reports if not report.decided_by and evidence.is_informed]
    groups = {key: group for report in doubtful for key, group in _groups_to_test(evidence, found, report)}
    tests = _holdout_tests(evidence, found, groups, 0)
    least = evidence.thresholds.retest_fraction
    again = [label for (label, detector), test in tests.items() if detector == SEED and test.score >= least]
    grown = {(label, EXPANDED): _expanded(evidence, found, label) for label in again}
    expanded = {key: group for key, group in grown.items() if _testable(evidence, key[0], group)}
    tests |= _holdout_tests(evidence, found, expanded, 1)
    for report in found.reports:
        made = [test for (label, _), test in tests.items() if label == report.label]
        decided_by = report.decided_by or _decisive(evidence, made)
        pattern = () if decided_by else tuple(_split_group(evidence, found, report.label).tolist())
        told = (*report.tests, *made)
        alarms = false_alarms(_surprise(told), evidence.scores.labels)
        yield replace(report, tests=told, decided_by=decided_by, pattern=pattern, false_alarms=alarms)


def _holdout_tests(
    evidence: Evidence, found: Detection, groups: Mapping[GroupKey, np.ndarray], number: int
) -> dict[GroupKey, LabelTest]:
    """What one model says of groups, indices of samples of which it has seen none.

    Labels that are hard to tell apart are confused in both directions; an attack brings samples of others to its label
    and takes none away. So no more samples are mislabeled than its label loses to others beyond what it takes from
    them; `one_way` is their number, by that of the group, and 0 if chance may bring it about (McNemar 1947). It is
    counted by the cross-fitted models, as one that has seen nothing like a group reads other labels in benign ones too.
    Only in a spectral split they may have learned the trigger, and the held-out model is asked.
    """
    scores, thresholds = evidence.scores, evidence.thresholds
    if not groups:
        return {}
    attacked = [report.label for report in found.reports if report.decided_by]
    certain = np.flatnonzero(np.isin(scores.label, attacked) & (found.posterior > thresholds.min_posterior))
    withheld = np.concatenate([certain, *groups.values()])
    rng = generator(evidence.seed, Draw.HOLDOUT)
    seen, unseen = holdout_split(scores.label, withheld, thresholds.holdout_fraction, rng)
    predict = evidence.probe.holdout_model(seen, number)
    held_out = HeldOut(predict(unseen), scores.label[unseen], scores.disagrees[unseen], thresholds)
    from_others = taken(scores.label, scores.seen)
    direct = {report.label: [test for test in report.tests if test.kind == "direct"] for report in found.reports}
    tests: dict[GroupKey, LabelTest] = {}
    for (label, detector), group in groups.items():
        read, members = predict(group), scores.members(label)
        fraction, other = held_out.mislabeled_fraction(read, label, scores.disagrees[group])
        inside = read.argmax(1) if detector == SPLIT else scores.seen[group]
        lost = int((inside != label).sum() + (scores.seen[np.setdiff1d(members, group)] != label).sum())
        took = int(from_others[label])
        is_certain = binomial_lower(lost, lost + took, 1 - thresholds.confidence_level) > 0.5
        one_way = (lost - took) / len(group) if is_certain else 0.0
        fraction = min(fraction, one_way)
        shares = {"other_label": other, "share": len(group) / len(members), "one_way": one_way}
        test = LabelTest(detector, "holdout", len(group), fraction, False, shares)
        if detector != SEED:
            test = replace(test, counts_as=HOLDOUT.kind, surprise=HOLDOUT.surprise(fraction))
            passed = test.surprise > 0 and evidence.is_rare(_surprise([*direct[label], test]))
            test = replace(test, passed=passed)
        tests[label, detector] = test
    return tests


def _decided(
    tests: Sequence[LabelTest], proposed: Mapping[str, Candidate], evidence: Evidence
) -> tuple[LabelTest | None, np.ndarray]:
    """The test that puts a label under attack, None if none does, and the posterior of its group, float64 (n,).

    It is the first that is enough by itself, or the one that surprises most where all are enough together. Their group
    is then that of all that count.
    """
    makers = [test for test in tests if test.passed][:1]
    if not makers and evidence.is_rare(_surprise(tests)):
        makers = sorted(_counting(tests), key=lambda test: -test.surprise)
    if not makers:
        return None, np.zeros(0)
    return makers[0], np.max([proposed[test.detector].posterior for test in makers], axis=0)


def _test(evidence: Evidence, candidate: Candidate, detector: Detector) -> LabelTest:
    group, usual = evidence.group(candidate.members, candidate.posterior), detector.usual
    test = LabelTest(detector.name, "direct", len(group), candidate.score, False, candidate.evidence)
    if usual is None:
        return test
    kind = "holdout" if usual.kind == HOLDOUT.kind else "direct"
    surprise = usual.surprise(candidate.score if candidate.measure is None else candidate.measure)
    return replace(test, kind=kind, passed=evidence.is_rare(surprise), counts_as=usual.kind, surprise=surprise)


def _counting(tests: Iterable[LabelTest]) -> list[LabelTest]:
    """The most surprising of one label's tests of each kind, if any does."""
    most: dict[str, LabelTest] = {}
    for test in tests:
        if test.surprise > 0 and (test.counts_as not in most or test.surprise > most[test.counts_as].surprise):
            most[test.counts_as] = test
    return [*most.values()]


def _surprise(tests: Iterable[LabelTest]) -> float:
    """Of one label's tests together, in nats."""
    return sum(test.surprise for test in _counting(tests))


def _groups_to_test(evidence: Evidence, found: Detection, report: LabelReport) -> Iterator[tuple[GroupKey, np.ndarray]]:
    scores, thresholds = evidence.scores, evidence.thresholds
    members = scores.members(report.label)
    seed_group = evidence.group(members, found.posterior[members])
    split_group = _split_group(evidence, found, report.label)
    if report.direct_score >= thresholds.candidate_threshold and _testable(evidence, report.label, seed_group):
        yield (report.label, SEED), seed_group
        features, drop = scores.features_of(members), scores.confidence_drop[members]
        sensitive = self_train_with_score(features, drop, found.posterior[members], evidence.seed, thresholds)
        if _testable(evidence, report.label, group := evidence.group(members, sensitive)):
            yield (report.label, NOISE_SENSITIVITY), group
    if _testable(evidence, report.label, split_group):
        yield (report.label, SPLIT), split_group


def _split_group(evidence: Evidence, found: Detection, label: int) -> np.ndarray:
    """One side of a label that falls into two well separated groups by its spectrum."""
    members = evidence.scores.members(label)
    return evidence.group(members, found.split_posterior[members])


def _testable(evidence: Evidence, label: int, group: np.ndarray) -> bool:
    """Whether a group is large enough, and leaves enough samples of its label that a model without it can know it."""
    thresholds, samples = evidence.thresholds, len(evidence.scores.members(label))
    return len(group) >= thresholds.min_group_size and samples - len(group) >= thresholds.min_label_size


def _expanded(evidence: Evidence, found: Detection, label: int) -> np.ndarray:
    members = evidence.scores.members(label)
    features, posterior = evidence.scores.features_of(members), found.posterior[members]
    return evidence.group(members, self_train(features, posterior, evidence.seed, evidence.thresholds))


def _decisive(evidence: Evidence, tests: Sequence[LabelTest]) -> LabelTest | None:
    """The test of one label's groups that decides: of those that have passed, the group nearest to what is mislabeled.

    A group holds score * group_size mislabeled samples, of which there are as many as the best group holds: score is
    its precision, and with its recall the F1 score tells how near it is (van Rijsbergen 1979). Of groups that are about
    as near the first in `PREFERRED` is taken.
    """
    passed = {test.detector: test for test in tests if test.passed}
    if not passed:
        return None
    asked = [passed[name] for name in PREFERRED if name in passed]
    mislabeled = max(test.score * test.group_size for test in asked)
    f1 = [2 * test.score * test.group_size / (test.group_size + mislabeled) for test in asked]
    least = max(f1) - evidence.thresholds.max_f1_loss
    return next(test for test, value in zip(asked, f1, strict=True) if value >= least)
