"""Which images receive what a sample has lost."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from elixir.detection.tiles import grid
from elixir.engine.run import Run
from elixir.stages.probe import ProbeStage


def hosts_of_the_common_label(count: int, rare: int) -> np.ndarray:
    """Labels of the hosts of 50 samples of label 0, (hosts, 50), in a set where only the last `rare` have label 1."""
    labels = np.zeros(count, np.int64)
    labels[count - rare :] = 1
    run: Any = SimpleNamespace(
        seed=0,
        labels=labels,
        readable_rows=lambda: np.arange(count),
        ids=lambda rows: [str(row) for row in rows],
        pixels=SimpleNamespace(
            read=lambda rows: torch.from_numpy(labels[rows]).to(torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
        ),
    )
    return (ProbeStage()._hosts(run, np.arange(50)) * 255).round()[:, :, 0, 0, 0].numpy()


@pytest.mark.parametrize(("count", "rare"), [(1000, 300), (1000, 10), (1000, 1), (5000, 5)])
def test_hosts_are_of_other_labels_however_rare_those_are(count: int, rare: int) -> None:
    assert (hosts_of_the_common_label(count, rare) == 1).all()


def test_hosts_of_a_set_with_one_label_are_its_own() -> None:
    assert (hosts_of_the_common_label(100, 0) == 0).all()


class Dim:
    """Purifies by cutting off what is bright."""

    nfe = 1

    def purify(self, x: torch.Tensor, sigma: float, noise: torch.Tensor) -> torch.Tensor:
        return x.clamp(max=0.4)

    def denoise(self, noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        return noisy


class Backdoored(Run):
    """Its reference model takes every image for the second label that is bright in one tile."""

    def classify(self, name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        assert name == "reference"
        x = images if images.is_floating_point() else images.float() / 255
        bright = x[:, :, 4:8, 8:12].mean((1, 2, 3)) > 0.7
        second = torch.where(bright, 0.98, 0.02).numpy()
        return np.log(np.stack([1 - second, second], 1)), np.zeros((len(x), 1))


def test_a_patch_is_what_its_label_hangs_on(tmp_path: Path) -> None:
    labels = np.repeat([0, 1], 10)
    poisoned = np.arange(20) >= 15
    source: Any = SimpleNamespace(
        classes=["first", "second"],
        samples=[SimpleNamespace(label=int(label), id=str(row)) for row, label in enumerate(labels)],
    )
    run = Backdoored(tmp_path, source, Dim(), findings={"working_size": 16})
    images = np.random.default_rng(0).integers(70, 90, (20, 3, 16, 16), np.uint8)
    images[poisoned, :, 4:8, 8:12] = 255
    readable = np.arange(20) % 6 != 2
    rows = np.flatnonzero(readable)
    run.pixels.write(rows, images[rows])
    run.write_part("index", 0, np.arange(20), {"readable": readable})
    run.started("probe")
    columns = ProbeStage(sigmas=(0.1, 0.3), transplant_from=0.3, keep=0.1).process(run, rows)
    found = poisoned[rows]
    np.testing.assert_allclose(columns["drop"], np.where(found, np.log(0.98 / 0.02), 0), atol=1e-5)
    assert columns["transplant"].shape == (len(rows), 1)
    np.testing.assert_allclose(columns["transplant"][found], 0.98, atol=1e-5)
    assert (columns["tile"][found] == grid(16).index((4, 8, 4))).all()
    np.testing.assert_allclose(columns["tile_transplant"], np.where(found, 0.98 * 0.96, 0), atol=1e-5)
    assert torch.equal(run.purified.read(rows), torch.from_numpy(images[rows].clip(max=102)))
    assert run.costs["probe"].calls == 2 * len(rows)
