"""Second opinions: learned from purified images, and of every raw image by the model that has not seen it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_world import Taught

from elixir.detection.tiles import grid
from elixir.purifiers.classical import Identity
from elixir.stages.crossfit import CrossfitStage
from elixir.training.classifier import ReadPixels

COUNT, SIZE = 60, 16
PURIFIED = 100  # is added to every pixel
SPOT = 255


class Classroom(Taught):
    """The image of row i has pixels of value i, but for a spot in the tile that carries its label."""

    lessons: dict[str, np.ndarray]

    def learn(
        self, name: str, read: ReadPixels, rows: np.ndarray, labels: np.ndarray, classes: list[str] | None
    ) -> None:
        assert torch.equal(read(rows)[:, 0, 0, 0], torch.from_numpy(rows + PURIFIED).to(torch.uint8))
        assert np.array_equal(labels, self.labels[rows])
        self.lessons[name] = rows

    def classify(self, name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities of the label tell the row; those of an image without its spot are less by 1."""
        pixels = (255 * images).round() if images.is_floating_point() else images
        rows = pixels.flatten(1).median(1).values.long().numpy()
        assert not set(rows) & set(self.lessons[name])
        spotted = (pixels == SPOT).flatten(1).any(1).numpy()
        logp = np.full((len(images), 2), -50.0, np.float32)
        logp[np.arange(len(rows)), self.labels[rows]] = -rows / 64 - ~spotted
        return logp, np.zeros((len(images), 1))


@pytest.mark.parametrize("folds", [2, 3])
def test_a_sample_is_read_by_the_model_that_has_not_seen_it(tmp_path: Path, folds: int):
    source: Any = SimpleNamespace(
        classes=["first", "second"],
        samples=[SimpleNamespace(label=row % 2, id=str(row)) for row in range(COUNT)],
    )
    run = Classroom(tmp_path, source, Identity(), findings={"working_size": SIZE})
    run.lessons = {}
    every = np.arange(COUNT)
    rows = every[every % 7 != 3]  # the others cannot be read
    tiles = rows % len(grid(SIZE))
    images = np.broadcast_to(every[:, None, None, None], (COUNT, 3, SIZE, SIZE)).astype(np.uint8)
    run.purified.write(rows, images[rows] + PURIFIED)
    for row, tile in zip(rows, tiles, strict=True):
        top, left, _ = grid(SIZE)[tile]
        images[row, :, top, left] = SPOT
    run.pixels.write(rows, images[rows])
    run.write_part("index", 0, every, {"readable": every % 7 != 3})
    run.write_part("probe", 0, rows, {"tile": tiles.astype(np.int16)})
    run.started("crossfit")
    columns = CrossfitStage(folds=folds).reduce(run)
    np.testing.assert_allclose(columns["logp"], -rows / 64, atol=1e-3)
    np.testing.assert_allclose(columns["erased_logp"], -rows / 64 - 1, atol=2e-3)
    seen = np.concatenate(list(run.lessons.values()))
    assert np.array_equal(np.sort(seen), np.repeat(rows, folds - 1))
    assert run.findings["accuracy"] == {"raw": 1.0, "mirrored": 1.0}
