"""The stage that judges labels: what it asks the networks of the run, and what it publishes."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from fakes import FakeModels, fake_run, provide

from elixir.detection.reports import label_reports
from elixir.result import write_label_reports
from elixir.stages.detect import DetectStage, detection_of

COUNT, GROUP = 200, 16
POISONED = 2 * COUNT - GROUP


class FakeHoldoutModel(FakeModels):
    """Images are of the second label if their first two values differ. To the reference model nothing transfers."""

    def __init__(self) -> None:
        super().__init__(self._read)

    def _read(self, name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        assert name in ("reference", "holdout-0", "holdout-1")
        assert (name != "reference") == (images.dtype == torch.uint8)
        differs = ((images[:, 0, 0, 0] > 128) ^ (images[:, 1, 0, 0] > 128)).numpy()
        second = np.where(differs, 0.98, 0.02)
        probability = np.stack([1 - second, second], 1) if name != "reference" else np.full((len(images), 2), 0.01)
        return np.log(probability).astype(np.float32), np.zeros((len(images), 1))


@pytest.fixture
def models() -> FakeHoldoutModel:
    return FakeHoldoutModel()


def test_a_doubtful_label_is_tested_with_a_held_out_model_and_reported(tmp_path: Path, models: FakeHoldoutModel):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], COUNT)
    poisoned = np.arange(2 * COUNT) >= POISONED
    images = rng.integers(90, 110, (2 * COUNT, 3, 8, 8))
    images[:, :2, 0, 0] = np.where(rng.random(2 * COUNT) < 0.5, 200, 50)[:, None]
    images[:, 1, 0, 0] ^= np.where((labels == 1) & ~poisoned, 200 ^ 50, 0)
    features = rng.normal(size=(2 * COUNT, 4)) + np.where(poisoned[:, None], [8, 0, 0, 0], [0, 8, 0, 0])
    run = fake_run(tmp_path / "run", labels, ["first", "second"], images.astype(np.uint8), models)
    run.purified.write(np.arange(2 * COUNT), images.astype(np.uint8))
    provide(
        run,
        features=features.astype(np.float16),
        residual_transfer=np.full(2 * COUNT, 0.05, np.float32),
        tile_transfer=np.zeros(2 * COUNT, np.float32),
        heldout_logp=np.log(np.where(poisoned, 0.01, 0.99)).astype(np.float16),
        heldout_erased_logp=np.zeros(2 * COUNT, np.float16),
        logp_drop=np.zeros(2 * COUNT, np.float32),
        heldout_label=np.where(poisoned, 0, labels).astype(np.int32),
    )
    columns = DetectStage().reduce(run)
    provide(run, **columns)
    found = detection_of(run)
    first, second = found.reports
    assert first.decided_by is None
    assert second.decided_by is not None
    assert (second.decided_by.detector, second.decided_by.kind) == ("expanded", "holdout")
    assert second.decided_by.group_size == GROUP
    assert ((found.posterior[COUNT:] > 0.5) == poisoned[COUNT:]).mean() > 0.97
    assert first.not_judged == second.not_judged == ""
    assert 0.07 <= second.direct_score < 0.3
    assert list(models.trained) == ["holdout-0", "holdout-1"]
    training = models.trained["holdout-0"]
    assert training.indices.max() < POISONED
    assert (training.labels == labels[training.indices]).all()
    assert torch.equal(training.read(training.indices), run.pixels.read(training.indices))
    assert training.settings.seed == 200

    assert tuple(label_reports(json.loads(json.dumps(run.facts)))) == found.reports
    write_label_reports(tmp_path / "labels.parquet", list(found.reports))
    rows = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    assert [path.name for path in tmp_path.glob("labels*")] == ["labels.parquet"]
    assert {(row["label"], row["class"], row["samples"], row["attacked"]) for row in rows} == {
        (0, "first", COUNT, False),
        (1, "second", COUNT, True),
    }
    tests = [test for report in found.reports for test in report.tests]
    for row, test in zip(rows, tests, strict=True):
        same = ("detector", "group_size", "score", "passed")
        assert [row[name] for name in same] == [getattr(test, name) for name in same]
        assert row["test"] == test.kind
        assert json.loads(row["evidence"]) == test.evidence
    assert [row["detector"] for row in rows if row["decides"]] == ["expanded"]


def test_labels_that_models_do_not_know_and_rare_ones_are_not_cleared(tmp_path: Path, models: FakeHoldoutModel):
    """Nothing speaks against any of three labels; how often held-out models see them decides what that is worth."""
    labels = np.repeat([0, 1, 2], [100, 100, 12])
    images = np.random.default_rng(0).integers(90, 110, (len(labels), 3, 8, 8)).astype(np.uint8)
    seen = {"right": labels, "halves": np.arange(len(labels)) % 2}
    few = "fewer than 20 samples"
    for name, heldout_label in seen.items():
        run = fake_run(tmp_path / name, labels, ["first", "second", "third"], images, models)
        run.purified.write(np.arange(len(labels)), images)
        flat = np.full(len(labels), -0.01, np.float32)
        provide(
            run,
            features=np.random.default_rng(1).normal(size=(len(labels), 4)).astype(np.float16),
            residual_transfer=np.zeros_like(flat),
            tile_transfer=np.zeros_like(flat),
            heldout_logp=flat.astype(np.float16),
            heldout_erased_logp=flat.astype(np.float16),
            logp_drop=np.zeros_like(flat),
            heldout_label=heldout_label.astype(np.int32),
        )
        DetectStage().reduce(run)
        first, second, third = (report.not_judged for report in label_reports(json.loads(json.dumps(run.facts))))
        assert third == few
        assert (first == second == "") == (name == "right")
        assert ("models know too little" in first) == (name == "halves")
