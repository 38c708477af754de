"""What the benign model's reading of a suspect means."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from elixir.stages.relabel import RelabelStage

OFFSET = 100


def judged(probabilities: list[list[float]], suspicion: list[float], clean_label: bool = False, rest: int = 1) -> Any:
    """Verdict columns of suspects labelled 0 beside a rest, given what the benign model makes of them."""
    count = len(suspicion)

    def read(rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(rows.astype(np.uint8))[:, None, None, None].expand(-1, 3, 4, 4)

    def classify(name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        rows = (255 * images[:, 0, 0, 0]).round().long().numpy() - OFFSET  # the trigger must have been taken away
        return np.log(np.array(probabilities))[rows], np.zeros((len(rows), 1))

    store = SimpleNamespace(read=read, shape=(3, 4, 4))
    columns = {"suspect": np.arange(count + rest) < count, "suspicion": np.array([*suspicion, *[0.0] * rest])}
    run: Any = SimpleNamespace(
        readable_rows=lambda: np.arange(count + rest),
        positions=lambda rows: rows,
        labels=np.zeros(count + rest, np.int64),
        column=lambda stage, name: columns[name],
        classes=["a", "b", "c"],
        findings={"mirrored": False, "targets": [{"label": 0, "clean_label": clean_label}]},
        triggers={0: torch.full((3, 4, 4), -OFFSET / 255)},
        pixels=store,
        network=nullcontext,
        classify=classify,
    )
    stage = RelabelStage()
    stage.open(run)
    return stage.process(run, stage.rows(run))


def test_another_label_counts_when_it_is_clear():
    columns = judged([[0.1, 0.8, 0.1], [0.3, 0.45, 0.25]], [0.2, 0.2])
    assert columns["verdict"].tolist() == ["poisoned", "undecided"]
    assert columns["label"].tolist() == [1, 1]


def test_its_own_label_clears_a_suspect_unless_suspicion_is_strong():
    own, other = [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]
    columns = judged([own, [0.4, 0.3, 0.3], own, other, other], [0.2, 0.2, 0.95, 0.95, 0.95])
    assert columns["verdict"].tolist() == ["benign", "benign", "undecided", "poisoned", "poisoned"]


def test_where_the_attack_has_left_the_labels_as_they_were_their_own_label_stays():
    own, other = [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]
    columns = judged([own, own, own, other, other], [0.2, 0.95, 0.95, 0.95, 0.2], clean_label=True)
    assert columns["verdict"].tolist() == ["benign", "poisoned", "poisoned", "undecided", "undecided"]
    assert columns["label"].tolist() == [0, 0, 0, 2, 2]


def test_a_label_that_the_benign_model_has_not_learned_is_not_denied():
    own, other = [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]
    assert judged([own, other, other], [0.2, 0.2, 0.95], rest=0)["verdict"].tolist() == ["undecided"] * 3
