"""What a sample loses with purification, whether that or a tile of it carries the label, and at which cost."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import Classify, FakeModels, LabelGradient, fake_run, provide

from elixir.data.columns import Columns
from elixir.detection.tiles import grid
from elixir.engine.run import Run
from elixir.errors import ElixirError
from elixir.settings import build
from elixir.stages.probe import ProbeStage


def carriers_of_the_common_label(folder: Path, count: int, rare: int) -> np.ndarray:
    """Labels of the carriers of 50 samples of label 0, (carriers, 50), where only the last `rare` have label 1."""
    labels = np.zeros(count, np.int64)
    labels[count - rare :] = 1
    images = np.broadcast_to(labels[:, None, None, None], (count, 3, 2, 2)).astype(np.uint8)
    run = fake_run(folder, labels, ["first", "second"], images, FakeModels(backdoored))
    return (ProbeStage()._carriers(run, np.arange(50)) * 255).round()[:, :, 0, 0, 0].numpy()


@pytest.mark.parametrize(("count", "rare"), [(1000, 300), (1000, 10), (1000, 1), (5000, 5)])
def test_carriers_are_of_other_labels_however_rare_those_are(tmp_path: Path, count: int, rare: int) -> None:
    assert (carriers_of_the_common_label(tmp_path, count, rare) == 1).all()


def test_carriers_of_a_set_with_one_label_are_its_own(tmp_path: Path) -> None:
    assert (carriers_of_the_common_label(tmp_path, 100, 0) == 0).all()


class Dim:
    """Purifies by cutting off what is brighter than grey, or white, less the noise level."""

    nfe = 1

    def __init__(self, from_white: bool = False) -> None:
        self._most = 1.0 if from_white else 0.5

    def purify(self, x: torch.Tensor, sigma: float, noise: torch.Tensor) -> torch.Tensor:
        return x.clamp(max=self._most - sigma)

    def denoise(self, noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        return noisy


class Noisy:
    """Purifies by adding a little noise."""

    nfe = 1

    def purify(self, x: torch.Tensor, sigma: float, noise: torch.Tensor) -> torch.Tensor:
        return (x + 0.1 * sigma * noise).clamp(0, 1)

    def denoise(self, noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        return noisy


def backdoored(name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """A reference model that takes every image for the second label that is bright in one tile."""
    assert name == "reference"
    x = images if images.is_floating_point() else images.float() / 255
    bright = x[:, :, 4:8, 8:12].mean((1, 2, 3)) > 0.7
    second = torch.where(bright, 0.98, 0.02).numpy()
    return np.log(np.stack([1 - second, second], 1)), np.zeros((len(x), 1))


def brighter(name: str, images: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
    """A gradient by which any brighter pixel speaks for the label."""
    assert name == "reference"
    return torch.ones_like(images)


PATCH = grid(16, 4).index((4, 8, 4))
DECOY = grid(16, 4).index((12, 0, 4))


def probed(stage: ProbeStage, run: Run, indices: np.ndarray) -> Columns:
    """The columns of some samples."""
    stage.open(run)
    return stage.process(run, indices)


def patched_run(
    folder: Path,
    classify: Classify = backdoored,
    label_gradient: LabelGradient = brighter,
    decoy: bool = False,
    patch: int = 255,
) -> tuple[Run, np.ndarray]:
    """A run of two labels, and which of its images are poisoned: they have the second label and a bright tile.

    If `decoy`, a part of another tile is white as well, of which the reference model makes nothing.
    """
    labels = np.repeat([0, 1], 10)
    images = np.random.default_rng(0).integers(70, 90, (20, 3, 16, 16), np.uint8)
    images[15:, :, 4:8, 8:12] = patch
    if decoy:
        images[15:, :, 13:15, 1:3] = 255
    usable = np.arange(20) % 6 != 2
    models = FakeModels(classify, label_gradient)
    run = fake_run(folder, labels, ["first", "second"], images[usable], models, Dim(), usable)
    logp = classify("reference", torch.from_numpy(images[usable]))[0]
    provide(run, reference_logp=logp[np.arange(len(run)), run.labels].astype(np.float32))
    run.meter.start("probe")
    return run, (np.arange(20) >= 15)[usable]


def test_a_patch_is_what_its_label_depends_on(tmp_path: Path) -> None:
    run, poisoned = patched_run(tmp_path)
    every = np.arange(len(run))
    columns = probed(ProbeStage(sigma=0.3, strong_sigma=0.1), run, every)
    np.testing.assert_allclose(columns["logp_drop"], np.where(poisoned, np.log(0.98 / 0.02), 0), atol=1e-5)
    assert columns["residual_transfer"].shape == (len(run),)
    np.testing.assert_allclose(columns["residual_transfer"][poisoned], 0.98, atol=1e-5)
    assert (columns["tile"][poisoned] == PATCH).all()
    np.testing.assert_allclose(columns["tile_transfer"], np.where(poisoned, 0.98 * 0.96, 0), atol=1e-5)
    assert torch.equal(run.purified.read(every), run.pixels.read(every).clamp(max=51))
    assert run.meter.costs["probe"].nfe == 2 * len(run)
    assert [columns[name].dtype for name in ("logp_drop", "residual_transfer", "tile", "tile_transfer")] == [
        np.float32,
        np.float32,
        np.int16,
        np.float32,
    ]


@pytest.mark.parametrize(("strong_sigma", "probability"), [(0.05, 0.02), (0.2, 0.98)])
def test_carriers_receive_what_much_noise_takes_away(tmp_path: Path, strong_sigma: float, probability: float) -> None:
    shown: list[torch.Tensor] = []

    def seeing(name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        shown.append(images)
        return backdoored(name, images)

    run, poisoned = patched_run(tmp_path, seeing, patch=204)
    every = np.arange(len(run))
    stage = ProbeStage(sigma=0.1, strong_sigma=strong_sigma, carriers=3)
    transfer = probed(stage, run, every)["residual_transfer"]
    x = run.pixels.read(every).float() / 255
    residual = x - (x.clamp(max=0.5 - strong_sigma) * 255).round() / 255
    for carrier in stage._carriers(run, every):
        received = (carrier + residual).clamp(0, 1)
        assert any(images.is_floating_point() and torch.allclose(images, received, atol=1e-6) for images in shown)
    np.testing.assert_allclose(transfer[poisoned], probability, atol=1e-5)  # of carriers with 0.3 of the 0.7 needed


@pytest.mark.parametrize(("sigma", "drops"), [(0.01, False), (0.4, True)])
def test_little_noise_says_how_far_the_label_is_lost_and_what_models_learn_from(
    tmp_path: Path, sigma: float, drops: bool
) -> None:
    run, poisoned = patched_run(tmp_path)
    run.purifier = Dim(from_white=True)
    every = np.arange(len(run))
    columns = probed(ProbeStage(sigma=sigma, strong_sigma=0.5), run, every)
    expected = np.where(poisoned & drops, np.log(0.98 / 0.02), 0)
    np.testing.assert_allclose(columns["logp_drop"], expected, atol=1e-5)
    assert torch.equal(run.purified.read(every), run.pixels.read(every).clamp(max=round(255 * (1 - sigma))))


@pytest.mark.parametrize(("tiles", "best", "evidence"), [(1, DECOY, 0.0), (2, PATCH, 0.98 * 0.96)])
def test_the_gradient_names_the_tiles_and_a_carrier_decides(
    tmp_path: Path, tiles: int, best: int, evidence: float
) -> None:
    def misled(name: str, images: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
        gradient = torch.ones_like(images)
        gradient[:, :, 12:, :4] = 9
        return gradient

    run, poisoned = patched_run(tmp_path, label_gradient=misled, decoy=True)
    columns = probed(ProbeStage(tiles=tiles), run, np.arange(len(run)))
    assert (columns["tile"][poisoned] == best).all()
    np.testing.assert_allclose(columns["tile_transfer"][poisoned], evidence, atol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_tile_counts_that_speaks_for_the_label_and_differs_from_the_mean_colour(tmp_path: Path, sign: int) -> None:
    def signed(name: str, images: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
        gradient = torch.full_like(images, float(sign))
        gradient[:, :, :4] = 9  # where pixels hardly deviate
        return gradient

    run, poisoned = patched_run(tmp_path, label_gradient=signed)
    tile = probed(ProbeStage(tiles=1), run, np.arange(len(run)))["tile"][poisoned]
    assert (tile == PATCH).all() == (sign > 0)


@pytest.mark.parametrize(("carriers", "tiles"), [(1, 1), (2, 2), (4, 3), (2, 99)])
def test_no_more_images_are_read_than_the_settings_say(tmp_path: Path, carriers: int, tiles: int) -> None:
    read: list[int] = []

    def counting(name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        read.append(len(images))
        return backdoored(name, images)

    run, _ = patched_run(tmp_path, counting)
    read.clear()
    columns = probed(ProbeStage(carriers=carriers, tiles=tiles), run, np.arange(len(run)))
    tried = min(tiles, len(grid(16, 4)))
    of_each = 1 + carriers + tried + (carriers - 1) + 1  # purified, residuals, tiles, the best one, without it
    assert sum(read) == of_each * len(run)
    assert columns["tile"].max() < len(grid(16, 4))


def test_a_sample_does_not_depend_on_the_others_of_its_batch(tmp_path: Path) -> None:
    run, _ = patched_run(tmp_path)
    run.purifier = Noisy()
    every = np.arange(len(run))
    together = probed(ProbeStage(), run, every)
    purified = run.purified.read(every)
    parts = [probed(ProbeStage(), run, part) for part in (every[:5], every[5:6], every[6:])]
    for name, column in together.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), column)
    assert torch.equal(run.purified.read(every), purified)
    assert not torch.equal(purified[0] - run.pixels.read(every)[0], purified[1] - run.pixels.read(every)[1])


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"sigma": 0}, "must be above 0 and at most 1"),
        ({"sigma": 1.5}, "must be above 0 and at most 1"),
        ({"strong_sigma": 0}, "must be above 0 and at most 1"),
        ({"carriers": 0}, "must be at least 1"),
        ({"tiles": 0}, "must be at least 1"),
        ({"keep": 0.2}, "no setting 'keep'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(ElixirError, match=problem):
        build(ProbeStage, settings)
