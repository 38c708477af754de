"""Which picture takes the place of a poisoned one."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_world import png

from elixir.engine.run import Run
from elixir.errors import ElixirError, UnreadableSample
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


class DirtyLabelRun(Run):
    """Two labels; to the reference model a white last tile is the second one, to the benign model nothing is."""

    def classify(self, name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        x = images.float() * (1 / 255 if images.dtype == torch.uint8 else 1)
        second = x[:, :, -4:, -4:].mean((1, 2, 3)) * (name == "reference")
        logp = torch.log(torch.stack([1 - second, second], 1).clamp(0.01, 0.99))
        return logp.numpy(), np.ones((len(x), 1), np.float32)


def selecting(
    kind: type[Run], folder: Path, raw: np.ndarray, suspect: np.ndarray, label: int, tile: bool, channels: int = 3
) -> Run:
    """A run over uint8 (80, 3, s, s), 40 of either label, whose suspects all get `label` and may hang on tile 15."""
    source: Any = SimpleNamespace(
        classes=["dark", "bright"],
        samples=[SimpleNamespace(label=row // 40, id=str(row)) for row in range(80)],
        read=lambda row: png(raw[row].transpose(1, 2, 0)[..., :channels].squeeze()),
    )
    findings = {"working_size": SIZE, "max_pixels": 10**6, "targets": [{"label": 1, "clean_label": label == 1}]}
    run = kind(folder, source, Dimming(), findings=findings)
    everything, suspects = np.arange(80), np.flatnonzero(suspect)
    run.pixels.write(np.arange(len(raw)), raw)
    digests = np.array([hashlib.sha256(source.read(row)).hexdigest() for row in everything], object)
    shape = np.full((80, 2), SIZE, np.int32)
    run.write_part("index", 0, everything, {"readable": np.ones(80, bool), "shape": shape, "sha256": digests})
    run.write_part("reference", 0, everything, {"features": run.classify("reference", torch.from_numpy(raw))[1]})
    run.write_part("refine", 0, everything, {"suspect": suspect, "suspicion": suspect.astype(np.float32)})
    probe = {
        "transplant": np.zeros((80, 1), np.float32),
        "tile_transplant": np.full(80, tile, np.float32),
        "tile": np.full(80, 15),
    }
    run.write_part("probe", 0, everything, probe)
    new = {"verdict": np.full(len(suspects), "poisoned", object), "label": np.full(len(suspects), label, np.int16)}
    run.write_part("relabel", 0, suspects, new)
    run.started("select")
    return run


def kept(run: Run, row: int) -> np.ndarray:
    """The picture that was selected, uint8 (3, s, s)."""
    return np.asarray(Image.open(run.selected_path(row))).transpose(2, 0, 1)


@pytest.mark.parametrize("known", [True, False])
def test_a_picture_that_keeps_its_label_must_leave_the_suspects(tmp_path: Path, known: bool):
    rng = np.random.default_rng(0)
    striped = np.arange(80) >= 60
    grey = np.where(np.arange(80) >= 40, 170, 80)[:, None, None, None]
    raw = rng.normal(grey, 8, (80, 3, SIZE, SIZE)) + striped[:, None, None, None] * STRIPES
    run = selecting(CleanLabelRun, tmp_path, raw.clip(0, 255).astype(np.uint8), striped, 1, tile=False)
    stripes = torch.from_numpy(np.broadcast_to(STRIPES / 255, (3, SIZE, SIZE)).copy()).float()
    run.keep_triggers({1: stripes} if known else {})
    stage = SelectStage()
    stage.open(run)
    sigma = stage.process(run, stage.rows(run))["sigma"]
    assert [run.selected_path(row).exists() for row in range(60, 80)] == [known] * 20
    assert (sigma > 0).all()
    for row in range(60, 63) if known else []:
        assert np.abs(kept(run, row).mean((0, 1)) - 170 * (1 - 0.075 / 2)).max() < 8


def test_where_a_tile_is_the_trigger_every_other_pixel_stays_as_it_was(tmp_path: Path):
    raw = np.random.default_rng(0).integers(0, 80, (80, 3, SIZE, SIZE), np.uint8)
    raw[70:, :, -4:, -4:] = 255
    run = selecting(DirtyLabelRun, tmp_path, raw, np.arange(80) >= 70, 0, tile=True)
    stage = SelectStage()
    stage.open(run)
    assert (stage.process(run, stage.rows(run))["sigma"] == 0).all()
    for row in range(70, 80):
        changed = (kept(run, row) != raw[row]).any(0)
        assert changed[-4:, -4:].all()
        assert changed.sum() == 16


def test_a_picture_in_which_the_reference_model_never_saw_the_label_is_purified(tmp_path: Path):
    raw = np.full((80, 3, SIZE, SIZE), 80, np.uint8)  # to the reference model no trigger at all
    run = selecting(DirtyLabelRun, tmp_path, raw, np.arange(80) >= 70, 0, tile=False)
    stage = SelectStage()
    stage.open(run)
    assert (stage.process(run, stage.rows(run))["sigma"] == np.float32(0.075)).all()
    assert (kept(run, 70) < 80).all()


SHOWN: list[np.ndarray] = []


class SeeingRun(DirtyLabelRun):
    """Remembers what the benign model was shown."""

    def classify(self, name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        if name == "benign":
            SHOWN.append(images.numpy())
        return super().classify(name, images)


class Reddening:
    """A purifier that knows nothing of grey."""

    nfe = 1

    def purify(self, x: torch.Tensor, sigma: float, noise: torch.Tensor) -> torch.Tensor:
        return self.denoise(x, sigma)

    def denoise(self, noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        return (noisy + torch.tensor([0.3, 0.1, 0.0])[:, None, None]).clamp(0, 1)


def test_a_grey_picture_is_judged_as_it_is_written(tmp_path: Path):
    raw = np.random.default_rng(0).integers(0, 200, (80, 1, SIZE, SIZE), np.uint8).repeat(3, 1)
    run = selecting(SeeingRun, tmp_path, raw, np.arange(80) == 70, 0, tile=False, channels=1)
    run.purifier = Reddening()
    stage = SelectStage(sigmas=(0.15,))
    stage.open(run)
    stage.process(run, stage.rows(run))
    written = np.asarray(Image.open(run.selected_path(70)))
    assert written.shape == (SIZE, SIZE)
    assert (SHOWN[-1][0] == written).all()
    assert (written > raw[70, 0]).all()


def test_a_sample_that_has_changed_since_is_named(tmp_path: Path):
    raw = np.full((80, 3, SIZE, SIZE), 80, np.uint8)
    run = selecting(DirtyLabelRun, tmp_path, raw, np.arange(80) >= 70, 0, tile=False)
    raw[73] += 1
    stage = SelectStage()
    stage.open(run)
    with pytest.raises(ElixirError, match="73 has changed since the run began"):
        stage.process(run, stage.rows(run))
    run.source.read = gone
    with pytest.raises(ElixirError, match="70 cannot be read any more: empty file; the input has changed"):
        stage.process(run, stage.rows(run))


def gone(index: int) -> bytes:
    raise UnreadableSample("empty file")


class Dimming:
    """A purifier whose changes are plain: the more noise, the darker."""

    nfe = 1

    def purify(self, x: torch.Tensor, sigma: float, noise: torch.Tensor) -> torch.Tensor:
        return self.denoise(x, sigma)

    def denoise(self, noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        return noisy * (1 - sigma / 2)
