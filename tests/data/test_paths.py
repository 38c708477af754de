"""What records say of places."""

from pathlib import Path

import pytest

from elixir.data.paths import recorded


def test_a_record_tells_nothing_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "work" / "sets").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    assert recorded(tmp_path / "work" / "sets" / "signs") == "sets/signs"
    assert recorded(str(tmp_path / "work" / "sets" / "*.parquet")) == "sets/*.parquet"
    assert recorded(tmp_path / "other" / "signs") == "signs"
    assert recorded(tmp_path / "work") == "work"
    assert recorded(Path("sets/\udcff")) == r"sets/\xff"


@pytest.mark.parametrize("text", ["sets/signs", "../signs", "owner/name (train)", "Dataset of 5 rows", "timm:resnet18"])
def test_what_is_no_absolute_path_stays(text: str):
    assert recorded(text) == text


def test_everything_is_below_the_root_but_not_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir("/")
    assert recorded("/home/me/signs") == "signs"
    assert recorded("/") == "/"
