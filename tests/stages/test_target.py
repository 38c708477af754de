"""Four ways to learn that a label is under attack, and none on clean data."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from elixir.stages.target import TargetStage

COUNT = 400


def judged(
    poisoned: np.ndarray, *, cause: bool, denied: bool, common: float, stripes: float = 0, taken: float = 8
) -> dict[str, Any]:
    """Findings about two labels of 400 samples; the poisoned ones of the second lie apart in the features.

    The images are noise, those of poisoned samples with stripes of so many grey levels; with a cause, purification
    has taken some levels of stripes away. Images with stripes are of the second label with the probability `common`.
    """
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 2], COUNT)
    attacked = np.concatenate([np.zeros(COUNT, bool), poisoned])
    features = rng.normal(size=(2 * COUNT, 16)) + 10.0 * attacked[:, None] * (np.arange(16) < 3)
    noise = rng.random(2 * COUNT) < 0.03
    columns = {
        "probe": {
            "transplant": np.stack([np.where(attacked & cause, 0.9, 0.05)] * 2, 1).astype(np.float32),
            "tile_transplant": np.zeros(2 * COUNT, np.float32),
            "drop": np.zeros(2 * COUNT, np.float32),
        },
        "crossfit": {
            "logp": np.log(np.where((attacked & denied) | noise, 0.01, 0.99)),
            "erased_logp": np.zeros(2 * COUNT),
        },
        "reference": {"features": features, "logp": np.full(2 * COUNT, -0.01)},
    }
    pattern = attacked[:, None, None, None] * (-1) ** np.arange(8)
    images = rng.normal(128, 10, (2 * COUNT, 3, 8, 8)) + stripes * pattern

    def store(values: np.ndarray) -> Any:
        stored = torch.from_numpy(values.clip(0, 255).astype(np.uint8))
        return SimpleNamespace(read=lambda rows: stored[rows], shape=(3, 8, 8))

    def classify(name: str, images: torch.Tensor) -> tuple[np.ndarray, None]:
        striped = (255 * images.numpy() * (-1) ** np.arange(8)).mean((1, 2, 3)) > 4
        second = np.where(striped, common, 0.001)
        return np.log(np.stack([1 - second, np.full(len(images), 1e-6), second], 1)), None

    run: Any = SimpleNamespace(
        readable_rows=lambda: np.arange(2 * COUNT),
        labels=labels,
        classes=["first", "empty", "second"],
        seed=0,
        columns=lambda stage: columns[stage],
        column=lambda stage, name: columns[stage][name],
        findings={},
        pixels=store(images),
        purified=store(images - taken * cause * pattern),
        network=nullcontext,
        classify=classify,
    )
    return {**TargetStage().reduce(run), **run.findings}


def test_cause_and_contradiction_of_the_same_samples():
    poisoned = np.arange(COUNT) < 120
    found = judged(poisoned, cause=True, denied=True, common=0.01)
    assert [(target["name"], target["witness"]) for target in found["targets"]] == [("second", "trigger")]
    assert ((found["suspicion"][COUNT:] > 0.5) == poisoned).mean() > 0.97


def test_a_common_cause_without_contradiction():
    poisoned = np.arange(COUNT) < 240
    found = judged(poisoned, cause=True, denied=False, common=0.8)
    assert [(target["name"], target["witness"]) for target in found["targets"]] == [("second", "cause")]
    assert ((found["suspicion"][COUNT:] > 0.5) == poisoned).mean() > 0.97
    assert judged(poisoned, cause=True, denied=False, common=0.2)["targets"] == []


def test_a_cause_of_which_purification_takes_away_little():
    poisoned = np.arange(COUNT) < 240
    found = judged(poisoned, cause=True, denied=False, common=0.8, stripes=20, taken=1)
    (target,) = found["targets"]
    assert (target["name"], target["witness"]) == ("second", "cause")
    assert target["evidence"]["common_transplant"] < 0.1 < 0.7 < target["evidence"]["difference_transplant"]
    assert judged(poisoned, cause=True, denied=False, common=0.05, stripes=20, taken=1)["targets"] == []


def test_a_denied_group_without_a_cause():
    poisoned = np.arange(COUNT) < 120
    found = judged(poisoned, cause=False, denied=True, common=0.01)
    assert [(target["name"], target["witness"]) for target in found["targets"]] == [("second", "contradiction")]
    assert found["targets"][0]["score"] > 0.4
    assert ((found["suspicion"][COUNT:] > 0.5) == poisoned).mean() > 0.97


def test_some_hard_samples_are_no_attack():
    found = judged(np.zeros(COUNT, bool), cause=False, denied=True, common=0.01)
    assert found["targets"] == []
    assert max([0.0, *found["scores"].values()]) < 0.2


def test_a_pattern_that_other_labels_do_not_show():
    poisoned = np.arange(COUNT) < 240
    found = judged(poisoned, cause=False, denied=False, common=0.8, stripes=20)
    assert [(target["name"], target["witness"]) for target in found["targets"]] == [("second", "pattern")]
    assert ((found["suspicion"][COUNT:] > 0.5) == poisoned).all()
    assert (found["pattern"][COUNT:] == found["suspicion"][COUNT:]).all()


@pytest.mark.parametrize(("stripes", "recorded"), [(20, True), (6, True), (4.5, False)])
def test_a_pattern_without_effect_is_no_attack_but_on_record_if_it_is_clear(stripes: float, recorded: bool):
    poisoned = np.arange(COUNT) < 240
    found = judged(poisoned, cause=False, denied=False, common=0.2, stripes=stripes)
    assert found["targets"] == []
    assert ((found["pattern"][COUNT:] > 0.5) == (poisoned & recorded)).all()
    assert not found["pattern"][:COUNT].any()


def test_a_lump_with_an_effect_is_no_attack():
    found = judged(np.arange(COUNT) < 240, cause=False, denied=False, common=0.9, stripes=0)
    assert found["targets"] == []
    assert not found["pattern"].any()
