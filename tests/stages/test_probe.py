"""Which images receive what a sample has lost."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

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
