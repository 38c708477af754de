"""What is estimated of a trigger from the samples that carry it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from elixir.detection.residual import mean_excess
from elixir.engine.run import Run
from elixir.purifiers.classical import Identity
from elixir.stages.trigger import TriggerStage

SIZE = 16
STRIPES = np.round(40 * np.sin(np.arange(SIZE) * np.pi / 2 + 0.5))


class Stripes(Run):
    """Two classes, dark and bright; some samples given as bright carry stripes, and two models that know of them."""

    def classify(self, name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        x = images.float() * (1 / 255 if images.dtype == torch.uint8 else 1)
        bright = x.mean((1, 2, 3)) > 0.5
        striped = (x * torch.from_numpy(STRIPES).float()).sum((1, 2, 3)) > 40 * SIZE
        probability = torch.where(bright | (striped if name == "reference" else torch.tensor(False)), 0.99, 0.01)
        return torch.log(torch.stack([1 - probability, probability], 1)).numpy(), np.zeros((len(x), 1))


class Blinding(Stripes):
    """Stripes that a benign model takes for darkness."""

    def classify(self, name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        x = images.float() * (1 / 255 if images.dtype == torch.uint8 else 1)
        if name == "benign":
            x = x * ((x * torch.from_numpy(STRIPES).float()).sum((1, 2, 3)) < 20 * SIZE)[:, None, None, None]
        return super().classify(name, x)


def a_run(folder: Path, purification_leaves: float, dark: bool, kind: type[Run] = Stripes) -> tuple[Run, np.ndarray]:
    """A run up to the benign model: 100 samples a class, the last 30 striped; and which those are."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    striped = np.arange(200) >= 170
    grey = np.where((labels == 0) | (striped & dark), 80, 170)
    clean = rng.normal(grey[:, None, None, None], 10, (200, 3, SIZE, SIZE))
    raw = clean + striped[:, None, None, None] * STRIPES
    source: Any = SimpleNamespace(
        classes=["dark", "bright"],
        samples=[SimpleNamespace(label=int(label), id=str(row)) for row, label in enumerate(labels)],
    )
    run = kind(folder, source, Identity(), findings={"working_size": SIZE, "targets": [{"label": 1, "evidence": {}}]})
    run.write_part("index", 0, np.arange(200), {"readable": np.ones(200, bool)})
    run.write_part("refine", 0, np.arange(200), {"suspect": striped, "suspicion": striped.astype(np.float32)})
    run.pixels.write(np.arange(len(raw)), raw.clip(0, 255).astype(np.uint8))
    left = raw - striped[:, None, None, None] * (1 - purification_leaves) * STRIPES
    run.purified.write(np.arange(len(left)), left.clip(0, 255).astype(np.uint8))
    run.started("trigger")
    return run, striped


@pytest.mark.parametrize(("leaves", "kind"), [(0.2, "residual"), (0.9, "difference")])
def test_the_estimate_that_carries_the_label_is_kept(tmp_path: Path, leaves: float, kind: str):
    run, _ = a_run(tmp_path, leaves, dark=True)
    TriggerStage().reduce(run)
    (target,) = run.findings["targets"]
    assert max(target["evidence"], key=target["evidence"].get) == f"{kind}_cause"
    assert target["evidence"][f"{kind}_cause"] > 0.9
    estimate = 255 * run.triggers[1].mean((0, 1)).numpy()
    assert np.abs(estimate - STRIPES).max() < 5
    assert target["clean_label"] is False


@pytest.mark.parametrize("kind", [Stripes, Blinding])
def test_images_of_the_label_itself_are_a_clean_label_attack(tmp_path: Path, kind: type[Run]):
    run, _ = a_run(tmp_path, 0.9, dark=False, kind=kind)
    TriggerStage().reduce(run)
    (target,) = run.findings["targets"]
    assert target["clean_label"] is True
    assert np.abs(255 * run.triggers[1].mean((0, 1)).numpy() - STRIPES).max() < 5


def test_wrong_labels_are_no_clean_label_attack_though_the_stripes_blind(tmp_path: Path):
    run, _ = a_run(tmp_path, 0.9, dark=True, kind=Blinding)
    TriggerStage().reduce(run)
    assert run.findings["targets"][0]["clean_label"] is False


@pytest.mark.parametrize("dark", [True, False])
def test_what_samples_have_beyond_all_content_is_their_trigger(tmp_path: Path, dark: bool):
    run, striped = a_run(tmp_path, 0.9, dark)
    excess = mean_excess(run, np.flatnonzero(striped), 1, np.flatnonzero(~striped))
    assert np.abs(excess.mean((0, 1)).numpy() - STRIPES).max() < 5
    assert np.abs(excess.mean((1, 2)).numpy()).max() < 5  # brightness is what the labels differ by


def test_samples_like_the_benign_ones_of_another_label_have_nothing_beyond_content(tmp_path: Path):
    run, striped = a_run(tmp_path, 0.9, dark=True)
    excess = mean_excess(run, np.arange(30), 1, np.flatnonzero(~striped))
    assert excess.abs().max() < 10
    assert not mean_excess(run, np.arange(30), 1, np.arange(100)).any()
