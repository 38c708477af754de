"""What a run's own samples say of new images, and that it comes back from a file."""

from pathlib import Path

import numpy as np
import pytest

from elixir.data.columns import read_columns, write_columns
from elixir.detection.calibration import Calibration

COUNT = 200
LABEL = np.arange(COUNT) % 2
POISONED = np.arange(COUNT) < 20
UNSURE = (np.arange(COUNT) >= 20) & (np.arange(COUNT) < 30)


@pytest.fixture
def calibration() -> Calibration:
    """Twenty poisoned samples, of which four show no trigger; ten that were flagged and kept, with a mighty one."""
    drop = np.where(POISONED, 10.0, np.linspace(-1, 1, COUNT))
    drop[:4], drop[UNSURE] = 0.5, 100
    return Calibration(
        label=LABEL,
        benign=~POISONED & ~UNSURE,
        poisoned=POISONED,
        heldout_logp=(-np.arange(COUNT) / 64).astype(np.float16),
        heldout_fold=(np.arange(COUNT) // 2 % 2).astype(np.int16),
        trigger_drop={1: drop.astype(np.float32)},
    )


def test_it_comes_back_from_a_file(calibration: Calibration, tmp_path: Path):
    write_columns(tmp_path / "calibration.parquet", calibration.columns())
    again = Calibration.of_columns(read_columns(tmp_path / "calibration.parquet", "run again"))
    np.testing.assert_equal(vars(again), vars(calibration))


def test_a_trigger_is_told_by_the_benign_samples_alone(calibration: Calibration):
    rate = calibration.trigger_rate(0.001)
    assert rate == 1 / 171
    p = calibration.trigger_p(1, np.array([9.0, 1.01, 1.0, -2.0]))
    assert p.tolist() == [1 / 171, 1 / 171, 2 / 171, 1.0]
    assert calibration.known_found(1, rate) == (8, 10)  # of label 1; two of the four are of label 0


def test_a_label_is_compared_with_its_own_samples_as_each_model_reads_them(calibration: Calibration):
    own = np.flatnonzero(calibration.benign & (LABEL == 1))
    least = [min(calibration.heldout_logp[i] for i in own if calibration.heldout_fold[i] == fold) for fold in (0, 1)]
    rate = calibration.label_rate(1, 0.001)
    assert rate == 1 / (len(own) + 1)
    logp = np.array([least, [least[0] - 0.1, least[1] - 0.1], [0.0, 0.0]])
    assert calibration.label_p(1, logp).tolist() == [3 * rate, rate, 1.0]


def test_readings_are_as_coarse_as_those_that_were_kept(calibration: Calibration):
    """A sample that is read again as it was read then is no stranger than itself."""
    finer = np.float32(calibration.heldout_logp.min()) - np.float32(1e-4)
    assert calibration.label_p(1, np.array([[finer, finer]]))[0] > calibration.label_rate(1, 0.001)
