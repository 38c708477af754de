"""Which image takes the place of a poisoned one."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import Classify, FakeModels, fake_run, provide
from PIL import Image
from skimage.metrics import structural_similarity
from small_world import png

from elixir.engine.run import Run
from elixir.errors import ElixirError, UnreadableSample
from elixir.stages.repair import (
    RepairStage,
    candidate_distance,
    intended_ssim,
    nearest_free,
    released_ssim,
    tiles_to_repaint,
)


def test_the_nearest_picture_without_trigger_is_kept():
    distance = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.1, 0.2, 0.3]])
    free = np.array([[False, True, True], [True, True, True], [False, False, False]])
    seen = np.array([[-1.0, -2, -3], [-1.0, -2, -3], [-1.0, -5, -3]])
    assert nearest_free(distance, free, seen).tolist() == [1, 2, 1]


def test_tiles_are_repainted_where_most_samples_of_the_label_depend_on_one():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    patch = np.array([True, True, True, False, True, False, False, True])
    tiles = np.array([15, 15, 3, 7, 2, 2, 2, 9])
    assert tiles_to_repaint(labels, patch, tiles, 0.5).tolist() == [15, 15, 3, 15, -1, -1, -1, 9]


SIZE = 16
STRIPES = np.round(40 * np.sin(np.arange(SIZE) * np.pi / 2 + 0.5))


def clean_label(name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Models of two labels; half of the second carries stripes, which the reference model has in its features."""
    x = as_float(images)
    stripes = (x * torch.from_numpy(STRIPES).float()).mean((1, 2, 3))
    bright = x.mean((1, 2, 3))
    second = torch.where(bright > 0.5, 0.99, 0.01)
    features = torch.stack([torch.ones(len(x)), bright, 0.1 * stripes], 1)
    return torch.log(torch.stack([1 - second, second], 1)).numpy(), features.numpy()


def dirty_label(name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Models of two labels; to the reference model a white last tile is the second, to the clean model nothing is."""
    x = as_float(images)
    second = x[:, :, -4:, -4:].mean((1, 2, 3)) * (name == "reference")
    logp = torch.log(torch.stack([1 - second, second], 1).clamp(0.01, 0.99))
    return logp.numpy(), np.ones((len(x), 1), np.float32)


def as_float(images: torch.Tensor) -> torch.Tensor:
    return images.float() * (1 / 255 if images.dtype == torch.uint8 else 1)


def before_repair(
    classify: Classify, folder: Path, raw: np.ndarray, flagged: np.ndarray, label: int, tile: bool, channels: int = 3
) -> Run:
    """A run over uint8 (80, 3, s, s), 40 of either label, whose flagged samples all get `label`.

    If `tile`, the label depends on tile 15.
    """
    models = FakeModels(classify)
    run = fake_run(
        folder,
        np.arange(80) // 40,
        ["dark", "bright"],
        raw,
        models,
        Dimming(),
        read=lambda row: png(raw[row].transpose(1, 2, 0)[..., :channels].squeeze()),
    )
    digests = np.stack([np.frombuffer(hashlib.sha256(run.source.read(row)).digest(), np.uint8) for row in range(80)])
    provide(run, source_sha256=digests, source_shape=np.full((80, 2), SIZE, np.int32))
    provide(
        run,
        features=classify("reference", torch.from_numpy(raw))[1],
        flagged=flagged,
        residual_transfer=np.zeros(80, np.float32),
        tile_transfer=np.full(80, tile, np.float32),
        tile=np.full(80, 15, np.int16),
    )
    count = int(flagged.sum())
    action = "purified" if label == 1 else "relabelled"
    new = {"new_label": np.full(count, label, np.int32), "action": np.full(count, action, object)}
    provide(run, np.flatnonzero(flagged), **new)
    run.facts["triggers"] = {"1": {"clean_label": label == 1}}
    run.meter.start("repair")
    return run


def repaired(run: Run, stage: RepairStage | None = None) -> dict[str, np.ndarray]:
    """The stage's columns, of the flagged samples."""
    stage = stage or RepairStage()
    stage.open(run)
    return stage.process(run, stage.indices(run))


def kept(run: Run, index: int) -> np.ndarray:
    """The repaired picture, uint8 (3, s, s)."""
    return np.asarray(Image.open(run.repaired_path(index))).transpose(2, 0, 1)


@pytest.mark.parametrize("known", [True, False])
def test_a_picture_that_keeps_its_label_must_leave_the_flagged_ones(tmp_path: Path, known: bool):
    rng = np.random.default_rng(0)
    striped = np.arange(80) >= 60
    grey = np.where(np.arange(80) >= 40, 170, 80)[:, None, None, None]
    raw = rng.normal(grey, 8, (80, 3, SIZE, SIZE)) + striped[:, None, None, None] * STRIPES
    run = before_repair(clean_label, tmp_path, raw.clip(0, 255).astype(np.uint8), striped, 1, tile=False)
    stripes = torch.from_numpy(np.broadcast_to(STRIPES / 255, (3, SIZE, SIZE)).copy()).float()
    run.keep_triggers({1: stripes} if known else {})
    columns = repaired(run)
    sigma = columns["repair_sigma"]
    assert (columns["repaired"] == known).all()
    assert [run.repaired_path(row).exists() for row in range(60, 80)] == [known] * 20
    assert (sigma > 0).all()
    for row in range(60, 63) if known else []:
        assert np.abs(kept(run, row).mean((0, 1)) - 170 * (1 - 0.075 / 2)).max() < 8


def test_where_a_tile_is_the_trigger_every_other_pixel_stays_as_it_was(tmp_path: Path):
    raw = np.random.default_rng(0).integers(0, 80, (80, 3, SIZE, SIZE), np.uint8)
    raw[70:, :, -4:, -4:] = 255
    run = before_repair(dirty_label, tmp_path, raw, np.arange(80) >= 70, 0, tile=True)
    assert (repaired(run)["repair_sigma"] == 0).all()
    for row in range(70, 80):
        changed = (kept(run, row) != raw[row]).any(0)
        assert changed[-4:, -4:].all()
        assert changed.sum() == 16


def test_a_picture_in_which_the_reference_model_never_saw_the_label_is_purified(tmp_path: Path):
    raw = np.full((80, 3, SIZE, SIZE), 80, np.uint8)  # to the reference model no trigger at all
    run = before_repair(dirty_label, tmp_path, raw, np.arange(80) >= 70, 0, tile=False)
    columns = repaired(run)
    assert (columns["repair_sigma"] == np.float32(0.075)).all()
    assert columns["repaired"].all()
    assert (kept(run, 70) < 80).all()


class Reddening:
    """A purifier that knows nothing of grey."""

    nfe = 1

    def purify(self, x: torch.Tensor, sigma: float, noise: torch.Tensor) -> torch.Tensor:
        return self.denoise(x, sigma)

    def denoise(self, noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        return (noisy + torch.tensor([0.3, 0.1, 0.0])[:, None, None]).clamp(0, 1)


def test_a_grey_picture_is_judged_as_it_is_written(tmp_path: Path):
    raw = np.random.default_rng(0).integers(0, 200, (80, 1, SIZE, SIZE), np.uint8).repeat(3, 1)
    shown: list[np.ndarray] = []

    def seeing(name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        if name == "clean":
            shown.append(images.numpy())
        return dirty_label(name, images)

    run = before_repair(seeing, tmp_path, raw, np.arange(80) == 70, 0, tile=False, channels=1)
    run.purifier = Reddening()
    repaired(run, RepairStage(sigmas=(0.15,)))
    written = np.asarray(Image.open(run.repaired_path(70)))
    assert written.shape == (SIZE, SIZE)
    assert (shown[-1][0] == written).all()
    assert (written > raw[70, 0]).all()


def test_a_sample_that_has_changed_since_is_named(tmp_path: Path):
    raw = np.full((80, 3, SIZE, SIZE), 80, np.uint8)
    run = before_repair(dirty_label, tmp_path, raw, np.arange(80) >= 70, 0, tile=False)
    raw[73] += 1
    with pytest.raises(ElixirError, match="73 has changed since the run began"):
        repaired(run)
    run.source.read = gone
    with pytest.raises(ElixirError, match="70 cannot be read any more: empty file; the input has changed"):
        repaired(run)


def gone(index: int) -> bytes:
    raise UnreadableSample("empty file")


class Dimming:
    """A purifier whose changes are plain: the more noise, the darker."""

    nfe = 1

    def purify(self, x: torch.Tensor, sigma: float, noise: torch.Tensor) -> torch.Tensor:
        return self.denoise(x, sigma)

    def denoise(self, noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        return noisy * (1 - sigma / 2)


def pictures(seed: int = 0, height: int = 24, width: int = 19) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture and a noisy copy, uint8 (3, h, w)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    raw = np.stack([128 + 100 * np.sin(x / 3 + c) * np.cos(y / (4 + c)) for c in range(3)])
    other = raw + rng.normal(0, 15, raw.shape)
    return raw.clip(0, 255).round().astype(np.uint8), other.clip(0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("seed", [0, 1])
def test_released_ssim_is_scikit_images_of_the_volume(seed: int) -> None:
    raw, other = pictures(seed)
    expected = structural_similarity(raw.transpose(1, 2, 0), other.transpose(1, 2, 0), win_size=3, data_range=255)
    assert released_ssim(torch.from_numpy(other)[None], torch.from_numpy(raw)[None]).item() == pytest.approx(
        expected, abs=1e-6
    )


def test_released_ssim_by_direct_computation() -> None:
    raw, other = pictures(height=5, width=4)
    values = []
    for i in range(3):
        for j in range(2):
            a, b = (image[:, i : i + 3, j : j + 3].reshape(-1) / 255 for image in (raw, other))
            cov = np.cov(a, b)
            top = (2 * a.mean() * b.mean() + 1e-4) * (2 * cov[0, 1] + 9e-4)
            values.append(top / ((a.mean() ** 2 + b.mean() ** 2 + 1e-4) * (cov[0, 0] + cov[1, 1] + 9e-4)))
    assert released_ssim(torch.from_numpy(raw)[None], torch.from_numpy(other)[None]).item() == pytest.approx(
        np.mean(values), abs=1e-6
    )


def test_intended_ssim_is_scikit_images_over_channels() -> None:
    raw, other = pictures()
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    mirrored = (np.pad(image, ((0, 0), (10, 10), (10, 10)), mode="reflect") for image in (raw, other))
    full = np.asarray(structural_similarity(*mirrored, channel_axis=0, full=True, **options)[1])
    ours = intended_ssim(torch.from_numpy(raw)[None], torch.from_numpy(other)[None]).item()
    assert ours == pytest.approx(full[:, 10:-10, 10:-10].mean(), abs=1e-5)


def test_the_two_differ() -> None:
    raw, other = (torch.from_numpy(image)[None] for image in pictures())
    assert abs(intended_ssim(raw, other) - released_ssim(raw, other)) > 0.01


@pytest.mark.parametrize("ssim", ["intended", "released"])
def test_distance_is_half_pixels_and_half_features(ssim: str) -> None:
    raw, other = (torch.from_numpy(image)[None] for image in pictures())
    east, north = np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]])
    assert candidate_distance(raw, raw, east, east, ssim) == pytest.approx(0, abs=1e-6)
    assert candidate_distance(raw, raw, east, north, ssim) == pytest.approx(0.25, abs=1e-6)
    assert candidate_distance(raw, raw, east, -east, ssim) == pytest.approx(0.5, abs=1e-6)
    similarity = {"intended": intended_ssim, "released": released_ssim}[ssim](other, raw).item()
    assert candidate_distance(raw, other, east, east, ssim) == pytest.approx((1 - similarity) / 4, abs=1e-6)
