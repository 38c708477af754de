"""Doubtful labels before a model that has not seen their suspects."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_world import Taught

from elixir.detection.shares import foreign_share
from elixir.errors import ElixirError
from elixir.purifiers.classical import Identity
from elixir.stages.retrial import RetrialStage
from elixir.training.classifier import ReadPixels

COUNT = 120
FOREIGN = 40
SUSPECTS = 30


class Court(Taught):
    """Two classes; the model takes dark images for the first, contrary ones for the other, as surely as `sure` says.

    It has its doubts about grey ones.
    """

    sure: float
    trained: np.ndarray | None = None

    def learn(
        self, name: str, read: ReadPixels, rows: np.ndarray, labels: np.ndarray, classes: list[str] | None
    ) -> None:
        assert name == "retrial"
        self.trained = rows

    def classify(self, name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        assert name == "retrial"
        second = (images[:, 0, 0, 0] > 128) ^ (images[:, 1, 0, 0] > 128)
        sure = torch.where(images[:, 2, 0, 0] > 128, 0.7, self.sure)
        probability = torch.where(second, sure, 1 - sure)
        return torch.stack([1 - probability, probability], 1).log().numpy(), np.zeros((len(images), 1))


def judged(
    folder: Path,
    *,
    poisoned: bool,
    score: float,
    attacked: tuple[int, ...] = (),
    sure: float = 0.95,
    contrary: tuple[int, ...] = (),
    foreign: int = FOREIGN,
    grey: str = "",
    patterned: tuple[int, int] = (0, 0),
    drifted: bool = False,
    likely: int = 0,
    losing: tuple[int, int] = (0, 0),
) -> Court:
    """A run after the retrial; the last samples of the second class lie apart, and most of them or all are suspected.

    Args:
        folder: of the run.
        poisoned: whether they look like the first class.
        score: of the second class by the target stage.
        attacked: labels that the target stage has found already.
        sure: the model's probability of the label that it sees.
        contrary: last digits of rows that the model takes for the other class.
        foreign: how many they are; of more than `FOREIGN` all are suspected.
        grey: what the model has its doubts about: "group", them, or "others", one in two of the others.
        patterned: rows that a pattern has told from the rest of their label, the first and the one after the last.
        drifted: those that lie apart and are not suspected are benign.
        likely: benign samples of the second class that are suspected, as they lie half-way to those apart.
        losing: rows that lose their label with a little noise, the first and the one after the last.
    """
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], COUNT)
    apart = np.arange(2 * COUNT) >= 2 * COUNT - foreign
    features = rng.normal(0, 1, (2 * COUNT, 8)) + np.where(apart[:, None], [6, *[0] * 7], [0, 6, *[0] * 6])
    half_way = (labels == 1) & (np.arange(2 * COUNT) < COUNT + likely)
    features[half_way, :2] = rng.normal(3, 1, (likely, 2))
    suspected = half_way | apart & ((np.arange(2 * COUNT) % 4 > 0) | (foreign > FOREIGN))
    suspicion = np.where(suspected, 0.9, 0.001)
    pattern = np.where((np.arange(2 * COUNT) >= patterned[0]) & (np.arange(2 * COUNT) < patterned[1]), 0.99, 0)
    source: Any = SimpleNamespace(
        classes=["first", "second"],
        samples=[SimpleNamespace(label=int(label), id=str(row)) for row, label in enumerate(labels)],
    )
    targets = [{"label": label, "witness": "trigger"} for label in attacked]
    run = Court(
        folder, source, Identity(), findings={"working_size": 8, "targets": targets, "scores": {"second": score}}
    )
    run.write_part("index", 0, np.arange(2 * COUNT), {"readable": np.ones(2 * COUNT, bool)})
    run.write_part("reference", 0, np.arange(2 * COUNT), {"features": features.astype(np.float32)})
    columns = {"suspicion": suspicion, "pattern": pattern}
    drop = np.where((np.arange(2 * COUNT) >= losing[0]) & (np.arange(2 * COUNT) < losing[1]), 3, 0.1)
    run.write_part("probe", 0, np.arange(2 * COUNT), {"drop": drop.astype(np.float32)})
    run.write_part("target", 0, np.arange(2 * COUNT), {key: value.astype(np.float32) for key, value in columns.items()})
    run.sure = sure
    images = np.zeros((2 * COUNT, 3, 8, 8), np.uint8)
    images[(labels == 1) & ~((suspected if drifted else apart) & poisoned), 0] = 200
    images[np.isin(np.arange(2 * COUNT) % 10, contrary), 1] = 200
    doubtful = {"": np.zeros_like(apart), "group": apart, "others": ~apart & (np.arange(2 * COUNT) % 2 == 0)}
    images[doubtful[grey], 2] = 200
    run.pixels.write(np.arange(len(images)), images)
    run.started("retrial")
    run.write_part("retrial", 0, np.arange(2 * COUNT), RetrialStage().reduce(run))
    return run


def test_suspects_of_another_label_are_convicted(tmp_path: Path):
    run = judged(tmp_path, poisoned=True, score=0.15)
    (target,) = run.findings["targets"]
    assert (target["name"], target["witness"], target["suspects"]) == ("second", "retrial", FOREIGN)
    # all of 40 are sure to be of the first class, so at least 93 %; of 40 others none is mistaken, so at most 7 %
    assert target["score"] == pytest.approx(0.05 ** (1 / FOREIGN) - (1 - 0.05 ** (1 / 40)), abs=1e-4)
    assert target["evidence"]["sure_of_another"] == 1
    assert target["evidence"]["share"] == pytest.approx(FOREIGN / COUNT, abs=1e-4)
    assert run.trained is not None
    others = 2 * COUNT - FOREIGN
    assert len(set(run.trained.tolist())) == len(run.trained) == round(0.8 * others)
    assert run.trained.max() < others  # nothing of the group has been seen, suspected or not


def test_a_group_that_has_grown_to_benign_samples_is_reduced_to_its_core(tmp_path: Path):
    run = judged(tmp_path, poisoned=True, score=0.15, drifted=True)
    (target,) = run.findings["targets"]
    assert (target["witness"], target["suspects"]) == ("core", SUSPECTS)
    assert run.findings["retried"]["second"]["retrial"] < 0.6 < run.findings["retried"]["second"]["core"]
    assert target["score"] == run.findings["retried"]["second"]["core"]


@pytest.mark.parametrize("poisoned", [True, False])
def test_a_group_with_benign_samples_in_it_is_reduced_to_those_that_noise_robs_of_their_label(
    tmp_path: Path, poisoned: bool
):
    run = judged(tmp_path, poisoned=poisoned, score=0.15, likely=30, losing=(2 * COUNT - FOREIGN, 2 * COUNT))
    shares = run.findings["retried"]["second"]
    if not poisoned:
        assert not any(shares.values())
        assert run.findings["targets"] == []
        return
    (target,) = run.findings["targets"]
    assert max(shares["core"], shares["retrial"]) < 0.6 < shares["drop"]
    assert (target["witness"], target["suspects"]) == ("drop", FOREIGN)
    assert target["score"] == shares["drop"]


def test_benign_samples_that_are_only_hard_go_free(tmp_path: Path):
    run = judged(tmp_path, poisoned=False, score=0.15)
    assert run.findings["targets"] == []
    assert set(run.findings["retried"]["second"].values()) == {0}
    assert run.trained is not None


def test_samples_that_look_like_others_but_not_surely_go_free(tmp_path: Path):
    run = judged(tmp_path, poisoned=True, score=0.15, grey="group")
    assert set(run.findings["retried"]["second"].values()) == {0}
    assert run.findings["targets"] == []


def test_a_model_that_is_sure_of_a_half_is_not_wrong_about_the_other(tmp_path: Path):
    run = judged(tmp_path, poisoned=True, score=0.15, grey="others")
    assert [target["name"] for target in run.findings["targets"]] == ["second"]


def test_a_model_that_is_sure_of_nothing_convicts_nobody(tmp_path: Path):
    run = judged(tmp_path, poisoned=True, score=0.15, sure=0.7)
    assert run.findings["targets"] == []
    assert set(run.findings["retried"]["second"].values()) == {0}


@pytest.mark.parametrize(("contrary", "least", "most"), [((0,), 0.5, 0.6), ((0, 1), 0.3, 0.4), ((0, 1, 2), 0.1, 0.2)])
def test_a_model_that_is_often_wrong_is_believed_less(
    tmp_path: Path, contrary: tuple[int, ...], least: float, most: float
):
    run = judged(tmp_path, poisoned=True, score=0.15, contrary=contrary)  # one in ten or more may be mistakes
    assert least < run.findings["retried"]["second"]["core"] < most
    assert [target["name"] for target in run.findings["targets"]] == (["second"] if least >= 0.6 else [])


def test_a_model_without_a_sample_of_the_label_convicts_nobody(tmp_path: Path):
    run = judged(tmp_path, poisoned=True, score=0.15, foreign=COUNT)
    assert set(run.findings["retried"]["second"].values()) == {0}
    assert run.findings["targets"] == []


def test_samples_that_are_few_are_learned_not_kept_apart(tmp_path: Path):
    run = judged(tmp_path, poisoned=True, score=0.15, foreign=COUNT - 4)
    assert run.trained is not None
    assert set(range(COUNT, COUNT + 4)) <= set(run.trained.tolist())


@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_the_share_of_foreign_samples_is_estimated_from_below(share: float):
    rng, unseen = np.random.default_rng(0), 20_000
    right, wrong = rng.random(unseen) < 0.5, np.zeros(unseen, bool)
    wrong[~right] = rng.random((~right).sum()) < 0.2
    estimates = []
    for _ in range(200):
        foreign = rng.random(1000) < share
        estimates.append(foreign_share(rng.random(1000) < np.where(foreign, 0.6, 0.1), right, wrong))
    assert np.mean(np.array(estimates) <= share + 0.01) > 0.94
    assert np.mean(estimates) > share - 0.08


@pytest.mark.parametrize("known", [0, 100])
def test_a_model_that_knows_little_is_no_judge(known: int):
    right = np.arange(known) < 0.2 * known
    assert foreign_share(np.ones(50, bool), right, np.zeros(known, bool)) == 0


@pytest.mark.parametrize(("score", "attacked"), [(0.04, ()), (0.15, (1,)), (0.4, (1,))])
def test_nothing_is_trained_without_doubt(tmp_path: Path, score: float, attacked: tuple[int, ...]):
    run = judged(tmp_path, poisoned=True, score=score, attacked=attacked)
    assert run.trained is None
    assert [target["witness"] for target in run.findings["targets"]] == ["trigger"] * len(attacked)


@pytest.mark.parametrize("settings", [{"doubt": 0}, {"conviction": 1.0}, {"control": 0}, {"smallest": 0}])
def test_senseless_settings_are_refused(settings: dict[str, float]):
    with pytest.raises(ElixirError, match=f"retrial.{next(iter(settings))}"):
        RetrialStage(**settings).check()  # type: ignore[arg-type]


def test_a_group_told_apart_by_a_pattern_is_judged_whatever_the_score(tmp_path: Path):
    start = 2 * COUNT - FOREIGN
    run = judged(tmp_path, poisoned=True, score=0, patterned=(start, 2 * COUNT))
    (target,) = run.findings["targets"]
    assert (target["name"], target["witness"], target["suspects"]) == ("second", "pattern", FOREIGN)
    assert run.trained is not None
    assert run.trained.max() < start


def test_a_pattern_is_preferred_to_what_the_score_points_at(tmp_path: Path):
    run = judged(tmp_path, poisoned=True, score=0.15, patterned=(2 * COUNT - 20, 2 * COUNT))
    (target,) = run.findings["targets"]
    assert (target["witness"], target["suspects"]) == ("pattern", 20)


def test_a_pattern_on_samples_of_the_label_does_not_hide_the_others(tmp_path: Path):
    run = judged(tmp_path, poisoned=True, score=0.15, patterned=(COUNT, COUNT + 20))
    (target,) = run.findings["targets"]
    assert (target["witness"], target["suspects"]) == ("retrial", FOREIGN)


def test_a_benign_pattern_is_no_attack(tmp_path: Path):
    run = judged(tmp_path, poisoned=True, score=0, patterned=(COUNT, COUNT + 20))
    assert run.findings["targets"] == []
    assert set(run.findings["retried"]["second"].values()) == {0}


def test_few_samples_with_a_pattern_are_not_judged(tmp_path: Path):
    run = judged(tmp_path, poisoned=True, score=0, patterned=(2 * COUNT - 9, 2 * COUNT))
    assert run.findings["retried"] == {}
    assert run.trained is None
