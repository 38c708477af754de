from pathlib import Path

import datasets
import pytest

from elixir.data.open import open_source
from elixir.errors import ElixirError

from .conftest import image_bytes, make_tree, table

CLASSES = {f"{name}/{number}.png": image_bytes(number) for name in ("cat", "dog") for number in range(2)}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, without the hub: asking it fails the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELIXIR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "load_dataset", lambda *args: pytest.fail("the hub was asked"))
    return tmp_path


def test_folder_and_parquet(here: Path) -> None:
    make_tree(here / "signs", CLASSES)
    assert open_source("folder:signs").classes == ["cat", "dog"]
    table().to_parquet(here / "signs" / "rows.parquet")
    table().to_parquet(here / "signs" / "cat" / "more.bin")
    assert open_source("folder:signs").classes == ["cat", "dog"]
    assert len(open_source("parquet:signs").samples) == 7
    assert open_source("parquet:signs/cat/more.bin").kind == "parquet"
    assert len(open_source("parquet:*/*.parquet").samples) == 7
    with pytest.raises(ElixirError, match=r"no file that ends with \.parquet matches cat"):
        open_source("parquet:cat")
    with pytest.raises(ElixirError, match="leave out --image"):
        open_source("folder:signs", label="label")


def test_a_scheme_takes_a_home_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(here / "signs", CLASSES)
    monkeypatch.setenv("HOME", str(here))
    assert open_source("folder:~/signs").classes == ["cat", "dog"]


@pytest.mark.parametrize("name", ["hf:signs", "s3:signs", "C:signs", "x:y:z", "zip:"])
def test_what_exists_is_a_path(here: Path, name: str) -> None:
    make_tree(here / name, CLASSES)
    assert open_source(name).classes == ["cat", "dog"]
    assert open_source(here / name).location == str(here / name)


def test_a_file_url(here: Path) -> None:
    make_tree(here / "signs", CLASSES)
    source = open_source(f"file://{here}/signs")
    assert (source.location, (here / "cache").exists()) == (f"{here}/signs", False)


@pytest.mark.parametrize("name", ["mnist", "someone/signs", "data:v1/x"])
def test_a_typing_error_never_asks_the_hub(name: str) -> None:
    with pytest.raises(ElixirError, match=f"{name} does not exist") as caught:
        open_source(name)
    assert (f"for a dataset on the Hugging Face hub give hf:{name}" in str(caught.value)) == (":" not in name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fodler:signs", "did you mean 'folder:'"),
        ("hub:someone/signs", "what may stand before a path is folder: hf:"),
        ("s3:/bucket/signs", "did you mean 's3://'"),
        ("s4:bucket/signs", "what may stand before a path is folder: hf:"),
    ],
)
def test_schemes_that_are_none(name: str, hint: str) -> None:
    with pytest.raises(ElixirError, match="is no way to read it") as caught:
        open_source(name)
    assert hint in str(caught.value)


def test_hub_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        datasets, "load_dataset", lambda name: asked.append(name) or datasets.DatasetDict({"train": table()})
    )
    assert open_source("hf:someone/signs").read(1) == image_bytes(1)
    assert open_source("hf:mnist").location == "mnist (train)"
    assert asked == ["someone/signs", "mnist"]
    for name in ("hf:", "hf:a/b/c", "hf:/etc", "hf:../x"):
        with pytest.raises(ElixirError, match=f"^{name} names no dataset of the Hugging Face hub; give hf:user/name"):
            open_source(name)


def test_a_hub_dataset_of_several_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    def several(name: str) -> None:
        listed = "Please pick one among the available configs: ['a', 'b']"
        raise ValueError(f"Config name is missing.\n{listed}\nExample of usage:\n\t`x`")

    monkeypatch.setattr(datasets, "load_dataset", several)
    with pytest.raises(ElixirError, match=r"\['a', 'b'\] .*save_to_disk\(FOLDER\) in Python") as caught:
        open_source("hf:someone/signs")
    assert "\n" not in str(caught.value)
