"""What the clean model's reading of a flagged sample means."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import FakeModels, fake_run, provide

from elixir.stages.relabel import CONFIRMED, UNCONTESTED, RelabelStage, poisoned_action, undecided_action

OFFSET = 100
OWN, OTHER = [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]
BENIGN = ("kept", CONFIRMED)
UNDECIDED = ("quarantined", "poisoned, label uncertain")
WRONG_LABEL, RIGHT_LABEL = ("relabelled", "poisoned"), ("purified", "poisoned, its label is right")


def relabelled(
    folder: Path,
    probabilities: list[list[float]],
    poison_score: list[float],
    clean_label: bool = False,
    rest: int = 1,
    mirrored: bool = False,
    policy: str = "relabel",
) -> dict[str, Any]:
    """Columns of flagged samples labelled 0 beside a rest, given what the clean model makes of them.

    Of a mirrored image it makes what it makes of the next one.
    """
    count = len(poison_score)

    def classify(name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        assert name == "clean"
        index = (255 * images[:, 0, 0, 0]).round().long().numpy() - OFFSET  # the trigger must have been taken away
        return np.log(np.array(probabilities))[index], np.zeros((len(index), 1))

    images = np.broadcast_to(np.arange(count + rest)[:, None, None, None], (count + rest, 3, 4, 4)).astype(np.uint8)
    images[..., -1] += 1
    run = fake_run(folder, np.zeros(count + rest, np.int64), ["a", "b", "c"], images, FakeModels(classify))
    provide(
        run,
        flagged=np.arange(count + rest) < count,
        poison_score=np.array([*poison_score, *[0.0] * rest]),
    )
    run.facts |= {"mirrored": mirrored, "triggers": {"0": {"clean_label": clean_label}}}
    run.keep_triggers({0: torch.full((3, 4, 4), -OFFSET / 255)})
    run.policy = policy
    stage = RelabelStage()
    stage.open(run)
    return stage.process(run, stage.indices(run))


def decided(columns: dict[str, Any]) -> list[tuple[str, str]]:
    return list(zip(columns["action"], columns["reason"], strict=True))


def test_another_label_counts_when_it_is_clear(tmp_path: Path):
    columns = relabelled(tmp_path, [[0.1, 0.8, 0.1], [0.3, 0.45, 0.25]], [0.2, 0.2])
    assert decided(columns) == [WRONG_LABEL, UNDECIDED]
    assert columns["new_label"].tolist() == [1, 1]
    np.testing.assert_allclose(columns["confidence"], [0.8, 0.45], rtol=1e-6)


def test_its_own_label_clears_a_flagged_sample_unless_its_score_is_high(tmp_path: Path):
    seen = [OWN, [0.4, 0.3, 0.3], OWN, OTHER, OTHER]
    columns = relabelled(tmp_path, seen, [0.2, 0.2, 0.95, 0.95, 0.95])
    assert decided(columns) == [BENIGN, ("kept", UNCONTESTED), UNDECIDED, WRONG_LABEL, WRONG_LABEL]


def test_where_the_attack_has_left_the_labels_as_they_were_their_own_label_stays(tmp_path: Path):
    seen = [OWN, OWN, OWN, OTHER, OTHER]
    columns = relabelled(tmp_path, seen, [0.2, 0.95, 0.95, 0.95, 0.2], clean_label=True)
    assert decided(columns) == [BENIGN, RIGHT_LABEL, RIGHT_LABEL, UNDECIDED, UNDECIDED]
    assert columns["new_label"].tolist() == [0, 0, 0, 2, 2]


def test_a_label_that_the_clean_model_has_not_learned_is_not_denied(tmp_path: Path):
    columns = relabelled(tmp_path, [OWN, OTHER, OTHER], [0.2, 0.2, 0.95], rest=0)
    assert decided(columns) == [UNDECIDED] * 3


def test_a_model_that_has_learned_from_mirrored_images_reads_those_too(tmp_path: Path):
    seen = [[0.2, 0.7, 0.1], [0.2, 0.1, 0.7]]
    alone, both = (
        relabelled(tmp_path / str(mirrored), seen, [0.2], mirrored=mirrored)["confidence"] for mirrored in (False, True)
    )
    assert [*alone, *both] == pytest.approx([0.7, 0.4])


@pytest.mark.parametrize(
    ("policy", "poisoned", "undecided"),
    [
        ("relabel", WRONG_LABEL, UNDECIDED),
        ("quarantine", ("quarantined", "poisoned"), UNDECIDED),
        ("drop", ("dropped", "poisoned"), ("dropped", "poisoned")),
    ],
)
def test_the_policy_decides_about_poisoned_samples(
    tmp_path: Path, policy: str, poisoned: tuple[str, str], undecided: tuple[str, str]
):
    columns = relabelled(tmp_path, [OWN, OTHER, OWN], [0.2, 0.95, 0.95], policy=policy)
    assert decided(columns) == [BENIGN, poisoned, undecided]
    assert poisoned_action(policy, keeps_label=True) == (RIGHT_LABEL if policy == "relabel" else poisoned)
    assert undecided_action(policy) == undecided
