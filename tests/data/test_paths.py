"""What records say of places."""

from pathlib import Path

import pytest

from elixir.data.paths import recorded, without_secrets


def test_a_record_tells_nothing_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "work" / "sets").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    assert recorded(tmp_path / "work" / "sets" / "signs") == "sets/signs"
    assert recorded(str(tmp_path / "work" / "sets" / "*.parquet")) == "sets/*.parquet"
    assert recorded(tmp_path / "other" / "signs") == "signs"
    assert recorded(tmp_path / "work") == "work"
    assert recorded(f"folder:{tmp_path}/other/signs") == "folder:signs"
    assert recorded(Path("sets/\udcff")) == r"sets/\xff"


@pytest.mark.parametrize("text", ["sets/signs", "../signs", "owner/name (train)", "Dataset of 5 rows", "timm:resnet18"])
def test_what_is_no_absolute_path_stays(text: str):
    assert recorded(text) == text


def test_everything_is_below_the_root_but_not_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir("/")
    assert recorded("/home/me/signs") == "signs"
    assert recorded("/") == "/"


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("https://user:secret@host/a.zip?X-Amz-Signature=a/b", "https://host/a.zip"),
        ("https://token@host:80/a#part", "https://host:80/a"),
        ("s3://key:secret@bucket/a.parquet?versionId=3", "s3://bucket/a.parquet"),
        ("s3://bucket/part-?.parquet", "s3://bucket/part-?.parquet"),
        ("abfs://container@account.dfs.core.windows.net/a", "abfs://container@account.dfs.core.windows.net/a"),
        ("hf://datasets/user/name@main/data", "hf://datasets/user/name@main/data"),
        ("403, message='No', url='https://h/x?sig=1'", "403, message='No', url='https://h/x'"),
        ("signs?/a@b", "signs?/a@b"),
    ],
)
def test_urls_without_secrets(text: str, public: str) -> None:
    assert without_secrets(text) == public
    assert recorded(text) == public
