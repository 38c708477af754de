"""Which picture takes the place of a poisoned one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_world import png

from elixir.registry import register
from elixir.run.run import Run
from elixir.stages.select import SelectStage, nearest_free, tiles_to_repaint


def test_the_nearest_picture_without_trigger_is_kept():
    distance = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.1, 0.2, 0.3]])
    free = np.array([[False, True, True], [True, True, True], [False, False, False]])
    seen = np.array([[-1.0, -2, -3], [-1.0, -2, -3], [-1.0, -5, -3]])
    assert nearest_free(distance, free, seen).tolist() == [1, 2, 1]


def test_tiles_are_repainted_where_most_samples_of_the_label_hang_on_one():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    by_tile = np.array([True, True, True, False, True, False, False, True])
    tiles = np.array([15, 15, 3, 7, 2, 2, 2, 9])
    assert tiles_to_repaint(labels, by_tile, tiles).tolist() == [15, 15, 3, 15, -1, -1, -1, 9]


SIZE = 16
STRIPES = np.round(40 * np.sin(np.arange(SIZE) * np.pi / 2 + 0.5))


class CleanLabelRun(Run):
    """Two labels; half of the second carries stripes, which the reference model has in its features."""

    def classify(self, name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        x = images.float() * (1 / 255 if images.dtype == torch.uint8 else 1)
        stripes = (x * torch.from_numpy(STRIPES).float()).mean((1, 2, 3))
        bright = x.mean((1, 2, 3))
        second = torch.where(bright > 0.5, 0.99, 0.01)
        features = torch.stack([torch.ones(len(x)), bright, 0.1 * stripes], 1)
        return torch.log(torch.stack([1 - second, second], 1)).numpy(), features.numpy()


@pytest.mark.parametrize("known", [True, False])
def test_a_picture_that_keeps_its_label_must_leave_the_suspects(tmp_path: Path, known: bool):
    rng = np.random.default_rng(0)
    labels, striped = np.repeat([0, 1], 40), np.arange(80) >= 60
    grey = np.where(labels == 1, 170, 80)[:, None, None, None]
    raw = rng.normal(grey, 8, (80, 3, SIZE, SIZE)) + striped[:, None, None, None] * STRIPES
    raw = raw.clip(0, 255).astype(np.uint8)
    source: Any = SimpleNamespace(
        classes=["dark", "bright"],
        samples=[SimpleNamespace(label=int(label), id=str(row)) for row, label in enumerate(labels)],
        read=lambda row: png(raw[row].transpose(1, 2, 0)),
    )
    findings = {"working_size": SIZE, "max_pixels": 10**6, "targets": [{"label": 1, "clean_label": True}]}
    run = CleanLabelRun(tmp_path, source, findings=findings, purifier_name="faithful")
    everything, suspects = np.arange(80), np.flatnonzero(striped)
    run.pixels.append(0, raw)
    run.write_part("index", 0, everything, {"readable": np.ones(80, bool), "shape": np.full((80, 2), SIZE, np.int32)})
    run.write_part("reference", 0, everything, {"features": run.classify("reference", torch.from_numpy(raw))[1]})
    run.write_part("refine", 0, everything, {"suspect": striped, "suspicion": striped.astype(np.float32)})
    nothing = np.zeros(80, np.float32)
    run.write_part(
        "probe",
        0,
        everything,
        {"transplant": nothing[:, None], "tile_transplant": nothing, "tile": nothing.astype(int)},
    )
    run.write_part("relabel", 0, suspects, {"verdict": np.full(20, "poisoned", object), "label": np.ones(20, np.int16)})
    stripes = torch.from_numpy(np.broadcast_to(STRIPES / 255, (3, SIZE, SIZE)).copy()).float()
    run.keep_triggers({1: stripes} if known else {})
    run.started("select")
    stage = SelectStage()
    stage.open(run)
    stage.process(run, stage.rows(run))
    assert [run.selected_path(row).exists() for row in suspects.tolist()] == [known] * 20
    for row in suspects[:3].tolist() if known else []:
        repaired = np.asarray(Image.open(run.selected_path(row))).mean((0, 2))
        assert np.abs(repaired - 170).max() < 8


class Faithful:
    """A purifier that changes nothing."""

    calls_per_draw = 1

    def purify(self, x: torch.Tensor, sigma: float, noise: torch.Tensor) -> torch.Tensor:
        return x


@register("purifiers", "faithful")
def load_faithful(model: str | None, device: torch.device) -> Faithful:
    return Faithful()
