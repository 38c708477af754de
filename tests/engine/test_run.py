"""Columns, facts and costs of a run, as its stages leave them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeModels, fake_run, provide
from torch import Tensor, nn

from elixir.data.columns import Columns
from elixir.data.open import TRAIN, open_source
from elixir.engine.cost import gflop_per_image
from elixir.engine.execution import execute
from elixir.engine.models import Models
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.errors import ElixirError
from elixir.models.classifier import SmallResNet
from elixir.purifiers.base import Denoiser
from elixir.purifiers.classical import Identity
from elixir.training.classifier import ClassifierTraining


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Five samples, of which the second is not usable."""
    usable = np.arange(5) != 1
    models = FakeModels(lambda name, images: (np.zeros(0), np.zeros(0)))
    return fake_run(tmp_path, np.zeros(5, int), ["a"], np.zeros((4, 3, 4, 4), np.uint8), models, usable=usable)


def test_where_a_stage_has_not_looked_a_column_has_a_fill_value(run: Run):
    provide(
        run,
        np.array([0, 3]),
        score=np.array([0.5, 1], np.float32),
        label=np.array([7, 8], np.int32),
        flag=np.array([True, True]),
        reason=np.array(["x", "y"], object),
        pair=np.array([[1, 2], [3, 4]], np.int16),
    )
    np.testing.assert_array_equal(run["score"], np.array([0.5, np.nan, np.nan, 1], np.float32))
    assert run["label"].tolist() == [7, -1, -1, 8]
    assert run["flag"].tolist() == [True, False, False, True]
    assert run["reason"].tolist() == ["x", "", "", "y"]
    assert run["pair"].tolist() == [[1, 2], [-1, -1], [-1, -1], [3, 4]]
    assert [run[name].dtype for name in ("score", "label", "flag", "pair")] == [np.float32, np.int32, bool, np.int16]


def test_columns_of_the_source_have_a_value_for_every_sample_of_it(run: Run):
    assert run["source_usable"].tolist() == [True, False, True, True, True]
    assert len(run) == 4


def test_a_column_that_no_stage_has_provided_is_named(run: Run):
    with pytest.raises(ElixirError, match="no stage has provided 'tile'; a stage that does must come earlier"):
        run["tile"]


def test_columns_and_facts_are_found_again(run: Run):
    run.facts["found"] = {"a": 1}
    provide(run, tile=np.arange(4))
    again = Run(run.folder, run.source, run.purifier)
    assert again["tile"].tolist() == [0, 1, 2, 3]
    assert again.facts["found"] == {"a": 1}
    assert list(again.meter.costs) == ["before-source_usable", "before-tile"]


@dataclass
class Doubles(MapStage):
    """A stage of a plug-in, with a name of its own; it looks at every second sample."""

    name = "doubles"

    def indices(self, run: Run) -> np.ndarray:
        return np.arange(0, len(run), 2)

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        return {"double": 2 * indices}


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_a_map_stage_writes_in_parts_and_goes_on(run: Run, batch_size: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("elixir.engine.execution.PART", 1)
    run.batch_size = batch_size
    run.meter.start("doubles")
    run.write_part("doubles", 0, np.array([0]), {"double": np.array([99])})  # an interrupted run has left this
    execute(run, Doubles())
    assert run["double"].tolist() == [99, -1, 4, -1]
    execute(run, Doubles())
    assert run.has("doubles")


def test_a_stage_that_looks_at_no_sample_provides_its_columns_too(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Doubles, "indices", lambda self, run: np.arange(0))
    execute(run, Doubles())
    assert run["double"].tolist() == [-1] * 4


def test_columns_of_a_stage_that_has_not_finished_are_not_provided(run: Run):
    run.write_part("probe", 0, np.arange(4), {"tile": np.arange(4)})
    with pytest.raises(ElixirError, match="no stage has provided 'tile'; a stage that does must come earlier"):
        run["tile"]


def test_labels_and_ids_are_those_of_usable_samples(shapes: Path, tmp_path: Path):
    source = open_source(shapes)
    usable = np.arange(len(source.samples)) % 3 > 0
    run = Run(tmp_path / "run", source, Identity())
    provide(run, np.arange(len(usable)), source_usable=usable)
    assert len(run) == usable.sum()
    assert run.labels.tolist() == [source.samples[row].label for row in np.flatnonzero(usable).tolist()]
    assert run.ids(np.array([1, 4])) == [source.samples[row].id for row in (2, 7)]


def test_later_stages_know_better(tmp_path: Path):
    run = Run(tmp_path / "run", open_source(TRAIN), Identity())
    for stage, flagged in (("detect", 100), ("flag", 130)):
        run.meter.start(stage)
        run.facts["flagged"] = flagged
        run.finish(stage)
    again = Run(tmp_path / "run", open_source(TRAIN), Identity())
    assert again.facts["flagged"] == 130
    assert list(again.meter.costs) == ["detect", "flag"]


def test_damaged_columns_are_named(shapes: Path, tmp_path: Path):
    run = Run(tmp_path / "run", open_source(shapes), Identity())
    provide(run, np.arange(9), source_usable=np.ones(9, bool))
    (part,) = (tmp_path / "run" / "columns").rglob("*.parquet")
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(ElixirError, match=r"000000\.parquet cannot be read: .* add --overwrite without --resume"):
        run["source_usable"]


class Brighter(Denoiser):
    """Two calls of a network."""

    nfe = 2

    def __init__(self) -> None:
        self.net = nn.Conv2d(3, 3, 1)

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        return noisy + sigma


def test_calls_and_operations_of_the_purifier_are_counted(run: Run):
    run.purifier = Brighter()
    run.meter.start("test")
    x = torch.zeros(5, 3, 8, 16)
    run.purify(x, 0.1, x)
    with run.purifying(x[:0], 7):
        pass
    assert run.meter.costs["test"].nfe == 5 * 2
    assert run.meter.costs["test"].gflop == pytest.approx(5 * 2 * 2 * 9 * 8 * 16 / 1e9)


def test_operations_of_classifiers_are_counted(run: Run):
    models = Models(run.folder / "models", ["a", "b"], torch.device("cpu"), run.meter, run.progress)
    run.meter.start("test")
    images, labels = run.pixels.read(np.arange(4)), np.array([0, 1, 0, 1])
    settings = ClassifierTraining(epochs=3, least_steps=0, backbone="none", widths=(4,))
    models.train("small", lambda rows: images[rows], np.arange(4), labels, settings)
    models.classify("small", images[:2])
    models.label_gradient("small", images[:1], labels[:1])
    one = gflop_per_image(SmallResNet(2, widths=(4,)), (3, 4, 4))
    assert one > 0
    assert run.meter.costs["test"].gflop == pytest.approx((3 * 3 * 4 + 2 + 2) * one)
