"""Every number that decides what is found, in one place."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from elixir.errors import ElixirError
from elixir.settings import Count, Positive, Range, Settings, Share, Steps


@dataclass
class Thresholds(Settings):
    """Thresholds of detection, relabelling and repair; `--set thresholds.KEY=VALUE`.

    All were chosen on 43 traffic signs (13,070 images) and CIFAR-10 (20,000), 32x32 pixels, nine attacks at 1 and 10 %
    and clean sets of 500 to 20,000 samples; none was calibrated on data of another kind.

    Args:
        seed_threshold: evidence above which a sample is a seed of its label's group.
        min_posterior: posterior above which a sample belongs to a group.
        min_group_size: smaller groups are ignored.
        alarm_rate: of clean sets, the share that may be accused of an attack on any label; from which score a label is
            follows from that, see `elixir.detection.alarm_rate`.
        carriers: images of other labels that receive what a group has in common, at most.
        residual_gain: factor on the mean residual of a group, of which averaging and purification leave about half.
        max_trigger_rms: largest root mean square of a difference that carriers receive, in grey levels (20 dB).
        max_self_confidence: held-out probability of its label below which a sample disagrees with it.
        min_separation: separation from which two groups of one label count as two.
        tiles_per_side: non-overlapping tiles along a side; others lie shifted by half a tile.
        split_directions: directions of greatest variance that may divide a label's samples.
        min_split_samples: samples of a label, and of all others, below which it is not divided.
        max_split_samples: samples of each half in which directions are looked for, at most.
        min_split_side: smallest side of a division, in samples.
        min_split_share: smallest side of a division, as a share of the samples.
        luma_frequencies: lowest frequencies of brightness along each axis that count as slow.
        chroma_frequencies: likewise of colour.
        slow_ridge: added to variances of slow frequencies, in squared units of [0,1] pixels.
        fast_ridge: likewise of fast ones.
        lda_folds: folds of cross-fitted discriminants; with fewer samples on a side nothing is learned.
        lda_shrinkage: of the covariance towards a multiple of the identity.
        positive_threshold: posterior above which a sample counts as one of the group when it is learned anew.
        negative_threshold: posterior below which it counts as none.
        max_rounds: of learning a group anew, at most.
        max_change: share of samples that may change sides in a group that counts as stable.
        variance_floor: variance of a single score below which it counts as constant.
        min_single_posterior: posterior by a single score below which it counts as 0.
        candidate_threshold: direct score from which a label that is not under attack is tested with a held-out model.
        holdout_fraction: share of all other samples that this model does not see, to measure how well it reads such.
        min_typicality: share of a label's samples among these that are read with more doubts than one that belongs to
            this label, at least.
        min_holdout_skill: share of these whose label it must see if another is given; below, it says nothing.
        confidence_level: of binomial bounds.
        min_known_labels: that a model must know to say something of labels that it has never seen.
        unseen_typicality: share of the samples of a label that it knows which look less like that label to it than a
            sample of an unseen label has to, to count as one of it.
        similar_labels: share of these labels that may look like the unseen one, and do not count.
        retest_fraction: mislabeled fraction of a seed group from which what it grows to is tested.
        max_f1_loss: that a group of a preferred detector may have beside one that is nearer to what is mislabeled.
        flag_threshold: poison score above which a sample of an attacked label is flagged.
        recognizer_rounds: of recognizers that let a group grow, at most.
        min_d_prime: standard deviations between the means of a group and the rest by which a recognizer tells them.
        certain_score: poison score above which a sample is certainly poisoned.
        trigger_gain: factor on the mean residual as an estimate of the trigger, of which purification leaves a part.
        variance_inflation: factor on variances of means, as images of a class are not independent.
        clean_label_share: share of certain samples that the clean model gives their own label, above which the attack
            is a clean-label one.
        min_label_confidence: smallest probability of a new label.
        patch_majority: share of a label's poisoned samples above which its trigger is a patch.
        mirror_accuracy: accuracy on mirrored images, as a share of that on the images, from which mirroring is taken to
            keep labels.
        min_skill: Cohen's kappa of the labels given and those that models see which have not learned from the sample, a
            lower bound, below which no label is cleared and none is under attack by a held-out model. It is .56 and .44
            where the poisoned label alone was named (300 signs with 15 % BadNets; 1,500 photographs at 32 pixels, 150
            patched), .30 where it was missed and a clean one named (600 of CIFAR-10, 15 %), and -.21 where nothing can
            be known and one was named all the same (the same signs as random halves).
        min_label_skill: share of a label's samples in which held-out models see it, a lower bound, minus that of all
            others, below which this label is not cleared.
    """

    name: ClassVar[str] = "thresholds"
    seed_threshold: Share = 0.5
    min_posterior: Share = 0.5
    min_group_size: Count = 10
    alarm_rate: Share = 0.01
    carriers: Count = 256
    residual_gain: Positive = 2.0
    max_trigger_rms: Positive = 25.5
    max_self_confidence: Share = 0.2
    min_separation: Share = 0.6
    tiles_per_side: Annotated[int, Range(least=2)] = 4
    split_directions: Count = 4
    min_split_samples: Count = 40
    max_split_samples: Count = 2000
    min_split_side: Count = 3
    min_split_share: Share = 0.02
    luma_frequencies: Count = 16
    chroma_frequencies: Count = 8
    slow_ridge: Positive = 1e-4
    fast_ridge: Positive = 1e-6
    lda_folds: Annotated[int, Range(least=2)] = 5
    lda_shrinkage: Share = 0.1
    positive_threshold: Share = 0.2
    negative_threshold: Share = 0.005
    max_rounds: Count = 10
    max_change: Share = 0.01
    variance_floor: Positive = 1e-4
    min_single_posterior: Share = 0.05
    candidate_threshold: Share = 0.07
    holdout_fraction: Share = 0.2
    min_typicality: Share = 0.2
    min_holdout_skill: Share = 0.25
    confidence_level: Share = 0.95
    min_known_labels: Annotated[int, Range(least=2)] = 4
    unseen_typicality: Share = 0.5
    similar_labels: Share = 0.25
    retest_fraction: Share = 0.25
    max_f1_loss: Share = 0.02
    flag_threshold: Share = 0.01
    recognizer_rounds: Steps = 5
    min_d_prime: Positive = 3.5
    certain_score: Annotated[float, Range(least=0, below=1)] = 0.9
    trigger_gain: Positive = 1.25
    variance_inflation: Positive = 2.0
    clean_label_share: Share = 0.25
    min_label_confidence: Annotated[float, Range(least=0, below=1)] = 0.5
    patch_majority: Share = 0.5
    mirror_accuracy: Annotated[float, Range(least=0, most=1)] = 0.75
    min_skill: Share = 0.4
    min_label_skill: Share = 0.1

    @property
    def min_label_size(self) -> int:
        """Samples of a label below which there is no room for a group beside as many others to know it by."""
        return 2 * self.min_group_size

    def check(self) -> None:
        """Raise `ElixirError` when the two thresholds of learning a group anew are in the wrong order."""
        if self.negative_threshold > self.positive_threshold:
            raise ElixirError(
                f"thresholds.negative_threshold = {self.negative_threshold} must not be above "
                f"thresholds.positive_threshold = {self.positive_threshold}"
            )
