"""What is estimated of a trigger from the samples that carry it."""

from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from fakes import Classify, FakeModels, fake_run, provide

from elixir.detection.reports import LabelReport, LabelTest
from elixir.engine.run import Run
from elixir.stages.estimate_trigger import EstimateTriggerStage, clean_label_targets

SIZE = 16
STRIPES = np.round(40 * np.sin(np.arange(SIZE) * np.pi / 2 + 0.5))


def striped(images: torch.Tensor) -> torch.Tensor:
    """How loud the stripes are in images, (n,)."""
    return (images * torch.from_numpy(STRIPES).float()).sum((1, 2, 3))


def as_float(images: torch.Tensor) -> torch.Tensor:
    return images.float() * (1 / 255 if images.dtype == torch.uint8 else 1)


def two_models(name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Models that tell dark from bright; to the reference model stripes are bright too."""
    x = as_float(images)
    bright = (x.mean((1, 2, 3)) > 0.5) | ((striped(x) > 40 * SIZE) & (name == "reference"))
    probability = torch.where(bright, 0.99, 0.01)
    return torch.log(torch.stack([1 - probability, probability], 1)).numpy(), np.zeros((len(x), 1))


def blinded(name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The clean model takes stripes for darkness."""
    x = as_float(images)
    if name == "clean":
        x = x * (striped(x) < 20 * SIZE)[:, None, None, None]
    return two_models(name, x)


def estimated(
    folder: Path,
    purification_leaves: float,
    dark: bool,
    classify: Classify = two_models,
    kind: Literal["direct", "holdout"] = "direct",
) -> Run:
    """A run of two classes, dark and bright, 100 samples each, after the stage; the last 30 are striped and flagged."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    flagged = np.arange(200) >= 170
    grey = np.where((labels == 0) | (flagged & dark), 80, 170)
    clean = rng.normal(grey[:, None, None, None], 10, (200, 3, SIZE, SIZE))
    pattern = flagged[:, None, None, None] * STRIPES
    raw = (clean + pattern).clip(0, 255).astype(np.uint8)
    run = fake_run(folder, labels, ["dark", "bright"], raw, FakeModels(classify))
    left = clean + purification_leaves * pattern
    run.purified.write(np.arange(200), left.clip(0, 255).astype(np.uint8))
    provide(run, flagged=flagged, poison_score=flagged.astype(np.float32))
    test = LabelTest("any", kind, 30, 0.9, passed=True)
    reports = LabelReport(0, "dark", 100), LabelReport(1, "bright", 100, (test,), test)
    run.facts |= {"labels": [asdict(report) for report in reports], "mirrored": False}
    assert not EstimateTriggerStage().reduce(run)
    return run


@pytest.mark.parametrize(("leaves", "kind"), [(0.2, "residual"), (0.9, "difference")])
def test_the_estimate_that_carries_the_label_is_kept(tmp_path: Path, leaves: float, kind: str):
    run = estimated(tmp_path, leaves, dark=True)
    assert run.facts["triggers"].keys() == {"1"}
    trigger = run.facts["triggers"]["1"]
    assert max(trigger["effect"], key=trigger["effect"].get) == trigger["kept"] == kind
    assert trigger["effect"][kind] > 0.9
    estimate = 255 * run.triggers[1].mean((0, 1)).numpy()
    assert np.abs(estimate - STRIPES).max() < 5
    assert trigger["clean_label"] is False
    assert clean_label_targets(run) == []


@pytest.mark.parametrize("classify", [two_models, blinded])
def test_images_of_the_label_itself_are_a_clean_label_attack(tmp_path: Path, classify: Classify):
    run = estimated(tmp_path, 0.9, dark=False, classify=classify)
    assert run.facts["triggers"]["1"]["clean_label"] is True
    assert clean_label_targets(run) == [1]
    assert np.abs(255 * run.triggers[1].mean((0, 1)).numpy() - STRIPES).max() < 5


def test_wrong_labels_are_no_clean_label_attack_though_the_stripes_blind(tmp_path: Path):
    run = estimated(tmp_path, 0.9, dark=True, classify=blinded)
    assert run.facts["triggers"]["1"]["clean_label"] is False


def test_images_of_the_label_in_the_group_are_no_clean_label_attack_where_held_out_models_have_seen_wrong_labels(
    tmp_path: Path,
):
    run = estimated(tmp_path, 0.9, dark=False, kind="holdout")
    assert run.facts["triggers"]["1"]["clean_label"] is False
