"""A fresh classifier needs something to be measured on."""

from pathlib import Path

import pytest
from small_world import make_shapes

from elixir.attacks.badnets import BadNets
from elixir.data.opening import open_source
from elixir.errors import ElixirError
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
