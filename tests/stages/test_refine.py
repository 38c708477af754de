"""The group of suspects grows to the whole attack, and to nothing else."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_world import Taught

from elixir.engine.run import Run
from elixir.errors import ElixirError
from elixir.purifiers.classical import Identity
from elixir.stages.refine import RefineStage
from elixir.training.classifier import ReadPixels

COUNT = 200
POISONED = 80
HIDDEN = 30
FIRST_HIDDEN = 2 * COUNT - HIDDEN


class Classroom(Taught):
    """Two classes; the trigger is a bright first pixel. Classifiers learn it from the suspects that they are shown.

    The more of the poisoned samples they see as suspects, the surer they are of the trigger.
    """

    lessons: list[np.ndarray]

    def learn(
        self, name: str, read: ReadPixels, rows: np.ndarray, labels: np.ndarray, classes: list[str] | None
    ) -> None:
        assert classes == ["first", "second", "suspects of second"]
        self.lessons.append(rows[labels == 2])

    def classify(self, name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        assert name.startswith(("recognize-", "closer-"))
        sure = len(self.lessons[-1]) / (POISONED / 2)
        triggered = images[:, 0, 0, 0].numpy() > 128
        jitter = np.random.default_rng(len(images)).normal(0, 0.5, len(images))
        odds = np.where(triggered, 12 * sure - 10, -10) + jitter
        return np.stack([np.full(len(images), -9.0), -np.logaddexp(0, odds), -np.logaddexp(0, -odds)], 1), np.empty(0)


def refined(
    folder: Path,
    witness: str = "trigger",
    *,
    hidden: int = HIDDEN,
    faint: bool = False,
    wrong: int = 0,
    carried: bool = True,
    **settings: Any,
) -> Classroom:
    """A run after the refine stage; of the second class 80 samples are poisoned, the last of which look typical.

    Args:
        folder: of the run.
        witness: that has convicted the second label; nobody has if empty.
        hidden: poisoned samples that lie with the benign ones in the features.
        faint: the trigger is one pixel, a little brighter than the others.
        wrong: benign samples of the second class that are suspected, as they lie half-way to the poisoned ones.
        carried: whether the poisoned samples that lie apart carry a cause, and lose their label with a little noise.
        settings: of the stage.
    """
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], COUNT)
    poisoned = np.arange(2 * COUNT) >= 2 * COUNT - POISONED
    apart = poisoned & (np.arange(2 * COUNT) < 2 * COUNT - hidden)
    wrongly = (np.arange(2 * COUNT) >= COUNT) & (np.arange(2 * COUNT) < COUNT + wrong)
    features = rng.normal(0, 1, (2 * COUNT, 8)) + np.where(apart[:, None], [8, *[0] * 7], [0, 8, *[0] * 6])
    features[wrongly, :2] += [4, -4]
    source: Any = SimpleNamespace(
        classes=["first", "second"],
        samples=[SimpleNamespace(label=int(label), id=str(row)) for row, label in enumerate(labels)],
    )
    targets = [{"label": 1, "name": "second", "witness": witness}] if witness else []
    run = Classroom(
        folder, source, Identity(), findings={"working_size": 8, "targets": targets, "scores": {"second": 0.2}}
    )
    run.lessons = []
    run.write_part("index", 0, np.arange(2 * COUNT), {"readable": np.ones(2 * COUNT, bool)})
    run.write_part("reference", 0, np.arange(2 * COUNT), {"features": features.astype(np.float32)})
    retried = witness == "core"
    columns = {
        "suspicion": np.where(apart | wrongly, 0.9, np.where(labels == 1, 0.3, 0.001) if retried else 0.001),
        "pattern": np.where(apart, 0.95, 0),
        "cause": np.where(apart & carried, 0.8, 0.1) + rng.uniform(-0.1, 0.1, 2 * COUNT),
    }
    drop = np.where(apart & carried, 3.0, 0.2)
    run.write_part("probe", 0, np.arange(2 * COUNT), {"drop": drop.astype(np.float32)})
    run.write_part("target", 0, np.arange(2 * COUNT), {key: value.astype(np.float32) for key, value in columns.items()})
    images = np.full((2 * COUNT, 3, 8, 8), 50, np.uint8)
    if faint:
        images[poisoned, :, 0, 0] += 10
    else:
        images[poisoned] = 200
    run.pixels.write(np.arange(len(images)), images)
    run.started("refine")
    run.write_part("refine", 0, np.arange(2 * COUNT), RefineStage(**settings).reduce(run))
    return run


def suspects(run: Run) -> list[int]:
    return np.flatnonzero(run.column("refine", "suspect")).tolist()


@pytest.mark.parametrize(
    ("witness", "carried"), [("trigger", True), ("cause", False), ("contradiction", False), ("drop", True)]
)
def test_poisoned_samples_that_look_typical_are_recognized_by_the_trigger(tmp_path: Path, witness: str, carried: bool):
    run = refined(tmp_path, witness, carried=carried)
    assert suspects(run) == list(range(2 * COUNT - POISONED, 2 * COUNT))
    assert run.findings["targets"][0]["suspects"] == POISONED
    assert len(run.lessons) == 4  # the first round finds more, the second no more
    first, second = (np.concatenate(run.lessons[at : at + 2]) for at in (0, 2))
    assert sorted(first) == list(range(2 * COUNT - POISONED, FIRST_HIDDEN))
    assert set(first) < set(second)


def test_where_samples_show_something_of_their_own_those_that_do_not_are_cleared(tmp_path: Path):
    by_cause, by_drop, by_features = (
        suspects(refined(tmp_path / witness, witness, wrong=5, rounds=0))
        for witness in ("trigger", "drop", "contradiction")
    )
    assert by_cause == by_drop == list(range(2 * COUNT - POISONED, FIRST_HIDDEN))
    assert set(range(COUNT, COUNT + 5)) & set(by_features)


def test_without_rounds_they_are_missed(tmp_path: Path):
    run = refined(tmp_path, rounds=0)
    assert suspects(run) == list(range(2 * COUNT - POISONED, FIRST_HIDDEN))
    assert not run.lessons


def test_after_a_retrial_a_faint_trigger_is_seen_in_the_fine_detail(tmp_path: Path):
    run = refined(tmp_path, "core", faint=True, wrong=10)
    assert suspects(run) == list(range(2 * COUNT - POISONED, 2 * COUNT))  # and nobody who was suspected wrongly
    assert sorted(np.concatenate(run.lessons[:2])) == [
        *range(COUNT, COUNT + 10),
        *range(2 * COUNT - POISONED, FIRST_HIDDEN),
    ]


def test_in_the_images_themselves_a_faint_trigger_is_missed(tmp_path: Path):
    run = refined(tmp_path, "trigger", faint=True)
    assert suspects(run) == list(range(2 * COUNT - POISONED, FIRST_HIDDEN))


def test_after_a_retrial_without_rounds_the_suspects_stay(tmp_path: Path):
    run = refined(tmp_path, "core", rounds=0, wrong=10)
    assert suspects(run) == [*range(COUNT, COUNT + 10), *range(2 * COUNT - POISONED, FIRST_HIDDEN)]


def test_where_there_is_no_rest_to_tell_them_from_the_suspects_stay(tmp_path: Path):
    run = refined(tmp_path, "core", hidden=0, wrong=COUNT - POISONED - 3)
    assert suspects(run) == [*range(COUNT, 2 * COUNT - POISONED - 3), *range(2 * COUNT - POISONED, 2 * COUNT)]
    assert not run.lessons


def test_a_group_that_is_whole_takes_one_round(tmp_path: Path):
    run = refined(tmp_path, hidden=0)
    assert suspects(run) == list(range(2 * COUNT - POISONED, 2 * COUNT))
    assert len(run.lessons) == 2


def test_a_label_that_lies_in_one_half_only_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one_half = SimpleNamespace(permutation=lambda count: 2 * np.arange(count))
    monkeypatch.setattr("elixir.stages.refine.generator", lambda *key: one_half)
    assert suspects(refined(tmp_path)) == list(range(2 * COUNT - POISONED, FIRST_HIDDEN))


@pytest.mark.parametrize("witness", ["pattern", ""])
def test_nothing_is_trained_after_a_pattern_or_without_an_attack(tmp_path: Path, witness: str):
    run = refined(tmp_path, witness)
    assert not run.lessons
    assert suspects(run) == (list(range(2 * COUNT - POISONED, FIRST_HIDDEN)) if witness else [])
    weight = np.repeat([0, 1 if witness else 0.2], COUNT)
    found = weight * run.column("target", witness or "suspicion")
    found[:COUNT] = weight[:COUNT] * run.column("target", "suspicion")[:COUNT]
    np.testing.assert_allclose(run.column("refine", "suspicion"), found, rtol=1e-6)


@pytest.mark.parametrize("settings", [{"clear": 0.3}, {"threshold": 0}, {"mark": 1.0}, {"rounds": -1}])
def test_senseless_settings_are_refused(settings: dict[str, float]):
    with pytest.raises(ElixirError, match=f"refine.{next(iter(settings))}"):
        RefineStage(**settings).check()  # type: ignore[arg-type]
