"""What the reference model learns, and what is kept of its readings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeModels, fake_run, provide

from elixir.engine.execution import execute
from elixir.errors import ElixirError
from elixir.stages.reference import ReferenceStage


def readings(name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The second of two labels is the likelier the brighter an image; features grow beyond half precision."""
    assert name == "reference"
    second = images[:, 0, 0, 0].numpy() / 255
    return np.log(np.stack([1 - second, second], 1)), np.stack([1000 * second, 1e6 * second**4], 1).astype(np.float32)


@pytest.mark.parametrize("own_reference", [False, True])
def test_it_learns_from_all_images_and_reads_them(tmp_path: Path, own_reference: bool):
    labels = np.arange(10) % 2
    values = 20 + 20 * np.arange(10)
    images = np.broadcast_to(values[:, None, None, None], (10, 3, 4, 4)).astype(np.uint8)
    models = FakeModels(readings)
    models.own_reference = own_reference
    run = fake_run(tmp_path, labels, ["first", "second"], images, models)
    run.batch_size = 4
    execute(run, ReferenceStage())
    columns = {name: run[name] for name in ("reference_logp", "features")}
    second = values / 255
    np.testing.assert_allclose(columns["reference_logp"], np.log(np.where(labels, second, 1 - second)), rtol=1e-5)
    features = columns["features"].astype(np.float64)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(features[:, 0] / features[:, 1], 1e-3 / second**3, rtol=2e-3)  # directions are kept
    assert columns["features"].dtype == np.float16
    assert list(models.trained) == ([] if own_reference else ["reference"])
    for training in models.trained.values():
        assert training.indices.tolist() == list(range(10))
        assert (training.labels == labels).all()


def test_a_set_without_images_is_refused_with_what_was_wrong(tmp_path: Path):
    nothing = np.zeros((1, 3, 4, 4), np.uint8)
    usable = np.arange(4) == 0
    run = fake_run(tmp_path, np.zeros(4, int), ["a"], nothing, FakeModels(readings), usable=usable)
    run.source.location = "data"  # type: ignore[misc]
    provide(run, source_problem=np.array(["", "is empty", "is empty", "has no label"], object))
    with pytest.raises(
        ElixirError, match=r"fewer than two .* \(2 of 4: is empty; 1 of 4: has no label\); check the path"
    ):
        execute(run, ReferenceStage())
