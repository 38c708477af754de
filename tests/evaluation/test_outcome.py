"""A fresh classifier needs something to be measured on."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from small_world import make_shapes

from elixir.attacks.badnets import BadNets
from elixir.attacks.tact import TaCT
from elixir.data.open import open_source
from elixir.errors import ElixirError
from elixir.evaluation import outcome
from elixir.evaluation.outcome import train_and_attack


@pytest.mark.parametrize(
    ("target", "renamed", "message"),
    [
        ("spott", {}, "has no class 'spott'; it has bar, post, spot"),
        ("spot", {"bar": "0", "post": "1", "spot": "2"}, "no readable image of a class other than the target"),
        ("spot", {"bar": "0", "post": "1"}, "no readable image of a class other than the target"),
    ],
)
def test_nothing_to_measure_on(tmp_path: Path, target: str, renamed: dict[str, str], message: str) -> None:
    train, test = (make_shapes(tmp_path / name, count=2, poisoned=0) for name in ("train", "test"))
    for old, new in renamed.items():
        (test / old).rename(test / new)
    with pytest.raises(ElixirError, match=message):
        train_and_attack(open_source(train), open_source(test), BadNets(), target, [0])


def test_no_class_in_common(tmp_path: Path) -> None:
    train, test = (make_shapes(tmp_path / name, count=2, poisoned=0) for name in ("train", "test"))
    for name in ("bar", "post", "spot"):
        (test / name).rename(test / f"no {name}")
    with pytest.raises(ElixirError, match=r"no readable image of a class that is in .*/train too"):
        train_and_attack(open_source(train), open_source(test), None, None, [0])


@pytest.mark.parametrize(("target", "asr", "robust"), [(None, 0.5, 0.5), ("post", 0.0, 0.5), ("bar", 1.0, 0.0)])
def test_a_class_that_has_been_lost_is_never_hit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str | None, asr: float, robust: float
) -> None:
    """Of bar, post and spot the training set has lost post, and the classifier takes everything for bar."""
    train, test = (make_shapes(tmp_path / name, count=2, poisoned=0) for name in ("train", "test"))
    shutil.rmtree(train / "post")
    monkeypatch.setattr(outcome, "_trained", lambda *args: None)
    monkeypatch.setattr(outcome, "_predict", lambda net, store, count, device: np.zeros(count, np.int64))
    classes = ["bar", "post", "spot"]
    found = train_and_attack(open_source(train), open_source(test), BadNets(), target, [0], classes=classes)[0]
    assert (found.asr, found.robust_accuracy) == (asr, robust)


def test_an_attack_on_one_source_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two posts, the source, one is taken for a bar, and of two spots both."""
    shapes = open_source(make_shapes(tmp_path / "shapes", count=2, poisoned=0))
    monkeypatch.setattr(outcome, "_trained", lambda *args: None)
    monkeypatch.setattr(outcome, "_predict", lambda net, store, count, device: np.array([1, 0, 0, 0, 0, 0])[:count])
    found = train_and_attack(shapes, shapes, TaCT(), "bar", [0])[0]
    assert (found.asr, found.robust_accuracy, found.elsewhere, found.triggered) == (0.5, 0.5, 1.0, 2)
    assert train_and_attack(shapes, shapes, BadNets(), "bar", [0])[0].elsewhere is None


def test_a_source_class_without_test_images(tmp_path: Path) -> None:
    train, test = (make_shapes(tmp_path / name, count=2, poisoned=0) for name in ("train", "test"))
    shutil.rmtree(test / "post")
    with pytest.raises(ElixirError, match="no readable image of the class 'post' that is in"):
        train_and_attack(open_source(train), open_source(test), TaCT(), "bar", [0])
