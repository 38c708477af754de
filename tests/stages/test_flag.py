"""The poisoned samples of attacked labels, as recognizers of a run see them."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import FakeModels, fake_run, provide

from elixir.detection.reports import LabelReport, LabelTest
from elixir.engine.run import Run
from elixir.stages.flag import FlagStage

COUNT = 200
POISONED = 80
HIDDEN = 30
FIRST_POISONED = 2 * COUNT - POISONED
FIRST_HIDDEN = 2 * COUNT - HIDDEN


class FakeRecognizer(FakeModels):
    """The trigger is a bright first pixel; recognizers learn it from the group that is a class of its own.

    The more of the poisoned samples they see in it, the surer they are of the trigger.
    """

    def __init__(self) -> None:
        super().__init__(self._recognize)

    def _recognize(self, name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        training = self.trained[name]
        sure = (training.labels == 2).sum() / (POISONED / 2)
        triggered = images[:, 0, 0, 0].numpy() > 128
        jitter = np.random.default_rng(len(images)).normal(0, 0.5, len(images))
        odds = np.where(triggered, 12 * sure - 10, -10) + jitter
        return np.stack([np.full(len(images), -9.0), -np.logaddexp(0, odds), -np.logaddexp(0, -odds)], 1), np.empty(0)

    def groups(self) -> dict[str, list[int]]:
        """Samples that each recognizer has learned as members of the group."""
        return {name: training.indices[training.labels == 2].tolist() for name, training in self.trained.items()}


def flagging(
    folder: Path, detector: str = "joint", *, faint: bool = False, own_reference: bool = False
) -> tuple[Run, FakeRecognizer, list[int]]:
    """A run of two classes; of the second 80 samples are poisoned, the last of which look typical to the features.

    Args:
        folder: of the run.
        detector: whose test has put the second label under attack.
        faint: the trigger is one pixel, a little brighter than the others.
        own_reference: the reference model is the user's.

    Returns:
        The run after the stage, its recognizers, and what is flagged.
    """
    rng = np.random.default_rng(0)
    every = np.arange(2 * COUNT)
    labels = np.repeat([0, 1], COUNT)
    poisoned = every >= FIRST_POISONED
    apart = poisoned & (every < FIRST_HIDDEN)
    features = rng.normal(0, 1, (2 * COUNT, 8)) + np.where(apart[:, None], [8, *[0] * 7], [0, 8, *[0] * 6])
    images = np.full((2 * COUNT, 3, 8, 8), 50, np.uint8)
    if faint:
        images[poisoned, :, 0, 0] += 10
    else:
        images[poisoned] = 200
    models = FakeRecognizer()
    models.own_reference = own_reference
    run = fake_run(folder, labels, ["first", "second"], images, models)
    transfer = np.where(apart, 0.8, 0.1) + rng.uniform(-0.1, 0.1, 2 * COUNT)
    provide(
        run,
        features=features.astype(np.float16),
        residual_transfer=transfer.astype(np.float32),
        tile_transfer=np.zeros(2 * COUNT, np.float32),
        heldout_logp=np.zeros(2 * COUNT, np.float16),
        heldout_erased_logp=np.zeros(2 * COUNT, np.float16),
        heldout_label=labels.astype(np.int32),
        logp_drop=np.where(apart, 3.0, 0.2).astype(np.float32),
        posterior=np.where(apart, 0.9, 0.001).astype(np.float32),
        split_posterior=np.where(apart, 0.95, 0).astype(np.float32),
    )
    test = LabelTest(detector, "direct", 50, 0.4, passed=True)
    reports = LabelReport(0, "first", COUNT), LabelReport(1, "second", COUNT, (test,), test)
    run.facts["labels"] = [asdict(report) for report in reports]
    columns = FlagStage().reduce(run)
    assert columns["poison_score"].dtype == np.float32
    assert (columns["flagged"] == (labels == 1) & (columns["poison_score"] > 0.01)).all()
    return run, models, np.flatnonzero(columns["flagged"]).tolist()


def test_recognizers_learn_the_group_as_a_class_and_each_reads_what_the_other_has_learned(tmp_path: Path):
    run, models, flagged = flagging(tmp_path)
    assert flagged == list(range(FIRST_POISONED, 2 * COUNT))
    assert list(models.trained) == [f"recognizer-{number}-{half}" for number in (0, 1) for half in (0, 1)]
    for training in models.trained.values():
        assert training.classes == ["first", "second", "flagged second"]
        others = training.labels != 2
        assert (training.labels[others] == run.labels[training.indices[others]]).all()
        assert torch.equal(training.read(training.indices), run.pixels.read(training.indices))
        assert training.initial == "reference"
    first, second = (
        [*models.groups()[f"recognizer-{number}-0"], *models.groups()[f"recognizer-{number}-1"]] for number in (0, 1)
    )
    assert sorted(first) == list(range(FIRST_POISONED, FIRST_HIDDEN))
    assert set(first) < set(second)
    halves = [models.trained[f"recognizer-0-{half}"].indices for half in (0, 1)]
    assert sorted(np.concatenate(halves)) == list(range(2 * COUNT))
    settings = [training.settings for training in models.trained.values()]
    assert [each.seed for each in settings] == [300, 301, 302, 303]
    assert {(each.epochs, each.least_steps) for each in settings} == {(2, 60)}


def test_recognizers_do_not_start_from_a_network_of_the_users(tmp_path: Path):
    _, models, flagged = flagging(tmp_path, own_reference=True)
    assert flagged == list(range(FIRST_POISONED, 2 * COUNT))
    assert {training.initial for training in models.trained.values()} == {None}


def test_in_the_images_themselves_a_faint_trigger_is_missed(tmp_path: Path):
    assert flagging(tmp_path, "joint", faint=True)[2] == list(range(FIRST_POISONED, FIRST_HIDDEN))


def test_a_label_that_lies_in_one_half_only_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one_half = SimpleNamespace(permutation=lambda count: np.arange(count) * (np.arange(count) < COUNT))
    monkeypatch.setattr("elixir.stages.group_probe.generator", lambda *key: one_half)
    assert flagging(tmp_path)[2] == list(range(FIRST_POISONED, FIRST_HIDDEN))


def test_nothing_is_trained_for_a_trigger_of_many_labels(tmp_path: Path):
    _, models, flagged = flagging(tmp_path, "shared_trigger")
    assert not models.trained
    assert flagged == list(range(FIRST_POISONED, FIRST_HIDDEN))
