"""The main job on real images: half of the shipped traffic signs, poisoned and cleaned, or left alone."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from elixir.api import sanitize, scan
from elixir.data.open import TRAIN, open_source
from elixir.evaluation.truth import read_truth, recovery
from elixir.registry import find

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]  # minutes on two free cores, many more on a busy machine


@pytest.fixture
def signs(tmp_path: Path) -> Path:
    """Every other one: 850 of ten classes."""
    table = pq.read_table(TRAIN)
    (tmp_path / "signs").mkdir()
    pq.write_table(table.take(np.arange(0, len(table), 2)), tmp_path / "signs" / "train.parquet")
    return tmp_path / "signs"


def test_poisoned_signs_come_back_clean(signs: Path, tmp_path: Path):
    attack = find("attacks", "badnets")()
    source = open_source(signs)
    done = attack.poison_dataset(source, tmp_path / "poisoned", "stop", rate=0.1, seed=0)
    result = sanitize(done.out, tmp_path / "clean")
    assert [label.name for label in result.attacked] == ["stop"]
    score = recovery(result.table, read_truth(done.truth))
    assert score.tpr >= 0.99
    assert score.relabel_accuracy >= 0.95
    assert score.fpr <= 0.005
    assert result.nfe_per_sample <= 12
    assert len(result.dataset()) == result.table.num_rows - round(score.removed * score.poisoned)
    before = {row["image"]["bytes"] for row in pq.read_table(next(done.out.glob("*.parquet"))).to_pylist()}
    after = [row["image"]["bytes"] for row in pq.read_table(next((tmp_path / "clean").glob("*.parquet"))).to_pylist()]
    assert sum(data in before for data in after) == result.counts["kept"]


def test_clean_signs_stay_as_they_are(signs: Path, tmp_path: Path):
    result = scan(signs, tmp_path / "findings")
    assert result.attacked == []
    assert result.counts == {"kept": 850}
    assert "no label under attack" in result.summary()
