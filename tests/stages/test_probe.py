"""Which images receive what a sample has lost."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeModels, fake_run

from elixir.detection.tiles import grid
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
    """Purifies by cutting off what is bright, as far as the noise level says."""

    nfe = 1

    def purify(self, x: torch.Tensor, sigma: float, noise: torch.Tensor) -> torch.Tensor:
        return x.clamp(max=0.5 - sigma)

    def denoise(self, noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        return noisy


def backdoored(name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """A reference model that takes every image for the second label that is bright in one tile."""
    assert name == "reference"
    x = images if images.is_floating_point() else images.float() / 255
    bright = x[:, :, 4:8, 8:12].mean((1, 2, 3)) > 0.7
    second = torch.where(bright, 0.98, 0.02).numpy()
    return np.log(np.stack([1 - second, second], 1)), np.zeros((len(x), 1))


def test_a_patch_is_what_its_label_depends_on(tmp_path: Path) -> None:
    labels = np.repeat([0, 1], 10)
    images = np.random.default_rng(0).integers(70, 90, (20, 3, 16, 16), np.uint8)
    images[15:, :, 4:8, 8:12] = 255
    usable = np.arange(20) % 6 != 2
    images, poisoned = images[usable], (np.arange(20) >= 15)[usable]
    run = fake_run(tmp_path, labels, ["first", "second"], images, FakeModels(backdoored), Dim(), usable)
    run.meter.start("probe")
    every = np.arange(len(run))
    columns = ProbeStage(sigmas=(0.1, 0.3), transfer_from=0.3, keep=0.3).process(run, every)
    np.testing.assert_allclose(columns["logp_drop"], np.where(poisoned, np.log(0.98 / 0.02), 0), atol=1e-5)
    assert columns["residual_transfer"].shape == (len(run), 1)
    np.testing.assert_allclose(columns["residual_transfer"][poisoned], 0.98, atol=1e-5)
    assert (columns["tile"][poisoned] == grid(16, 4).index((4, 8, 4))).all()
    np.testing.assert_allclose(columns["tile_transfer"], np.where(poisoned, 0.98 * 0.96, 0), atol=1e-5)
    assert torch.equal(run.purified.read(every), torch.from_numpy(images.clip(max=51)))
    assert run.meter.costs["probe"].nfe == 2 * len(run)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"sigmas": [0.3, 0.15]}, "must ascend"),
        ({"keep": 0.2}, "must be one of probe.sigmas"),
        ({"transfer_from": 0.5}, "is above all of probe.sigmas"),
    ],
)
def test_noise_levels_that_do_not_go_together_are_refused(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(ElixirError, match=problem):
        build(ProbeStage, settings)
