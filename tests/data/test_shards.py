"""All splits of a dataset in tables of another kind, and parquet output in files of a given size."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elixir.data.open import open_sink, open_source
from elixir.data.restore import restore
from elixir.data.sink import Decision
from elixir.data.tables.parquet import shard_bytes
from elixir.errors import ElixirError

from .conftest import change_some, emit, image_bytes, keep, make_tree, open_table, read_tree, table
from .test_repository import drop_two, labelled, load, repository

BYTES = 600  # a few of the small images


def splits(first: str = "train", second: str = "test") -> datasets.DatasetDict:
    return datasets.DatasetDict({first: labelled(9), second: labelled(7, 50)})


def tracks(part: Any) -> list[tuple[int, bytes]]:
    raw = part.cast_column("image", datasets.Image(decode=False))
    return [(row["track"], row["image"]["bytes"]) for row in raw]


@pytest.mark.parametrize("size", [None, BYTES])
@pytest.mark.parametrize("kind", ["object", "saved"])
@pytest.mark.parametrize("names", [("train", "test"), ("training", "heldout"), ("dev", "validation"), ("a.b", "_c")])
def test_parquet_has_all_splits_of_a_dataset(tmp_path: Path, kind: str, names: tuple[str, str], size) -> None:
    parts = splits(*names)
    parts.save_to_disk(str(tmp_path / "src"))
    source = open_source(parts if kind == "object" else tmp_path / "src", split=names[0])
    outputs = emit(source, "parquet", tmp_path / "dst", drop_two, size)
    loaded = load(tmp_path / "dst", tmp_path / "cache")
    assert loaded.keys() == set(names)
    assert tracks(loaded[names[0]]) == tracks(parts[names[0]])[2:]
    assert tracks(loaded[names[1]]) == tracks(parts[names[1]])
    again = open_table(tmp_path / "dst", split=names[0])
    assert [sample.id for sample in again.samples] == outputs[2:]
    if size is None:
        assert (tmp_path / "dst" / f"{names[1]}-00000-of-00001.parquet").exists()
    assert restore(tmp_path / "dst", tmp_path / "back") == 9
    assert tracks(datasets.load_from_disk(str(tmp_path / "back"))[names[0]]) == tracks(parts[names[0]])


@pytest.mark.parametrize("plain", [False, True])
def test_a_dataset_has_all_splits_of_parquet_files(tmp_path: Path, plain: bool) -> None:
    """Also where images are bytes alone, which a dataset keeps beside a path."""
    for number, name in enumerate(("train-0", "train-1", "test")):
        (tmp_path / "src").mkdir(exist_ok=True)
        labelled(5, 20 * number).to_parquet(str(tmp_path / f"src/{name}.parquet"))
        if plain:
            rows = {"image": [image_bytes(20 * number + row) for row in range(5)], "label": [0] * 5, "track": range(5)}
            pq.write_table(pa.table({**rows, "track": list(rows["track"])}), tmp_path / f"src/{name}.parquet")
    emit(open_source(tmp_path / "src"), "hf", tmp_path / "dst", drop_two)
    written = datasets.load_from_disk(str(tmp_path / "dst"))
    assert isinstance(written, datasets.DatasetDict)
    assert written.keys() == {"train", "test"}
    assert written["train"].features == written["test"].features
    test = open_table(tmp_path / "src", split="test")
    assert [data for _, data in tracks(written["test"])] == [test.read(row) for row in range(5)]
    assert len(written["train"]) == 8
    assert restore(tmp_path / "dst", tmp_path / "back") == 10
    assert open_table(tmp_path / "back").rows.parts == [("train-0", 5), ("train-1", 5)]


def test_a_folder_says_which_splits_it_lacks(tmp_path: Path) -> None:
    source = open_source(splits())
    notes = ["not in the output: the splits test; --to hf keeps them too"]
    assert open_sink("folder", tmp_path / "folder", source).notes == notes
    assert open_sink("hf", tmp_path / "hf", source).notes == []
    assert open_sink("parquet", tmp_path / "parquet", source).notes == []
    assert open_sink("folder", tmp_path / "one", open_source(labelled(3))).notes == []


def test_a_split_that_the_output_cannot_hold_is_found_before_the_work(tmp_path: Path) -> None:
    odd = datasets.Dataset.from_dict({"image": [b""], "label": [0], "meta": [{}]})
    parts = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"image": [b""], "label": [0]}), "test": odd})
    with pytest.raises(ElixirError, match="a column that parquet cannot hold"):
        open_sink("parquet", tmp_path / "dst", open_source(parts))
    (tmp_path / "src").mkdir()
    rows = pa.table({"image": [b""], "label": [0]})
    pq.write_table(rows, tmp_path / "src/train.parquet")
    notes = pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))
    pq.write_table(rows.append_column("notes", notes), tmp_path / "src/test.parquet")
    with pytest.raises(ElixirError, match="a Hugging Face dataset cannot hold"):
        open_sink("hf", tmp_path / "hf", open_source(tmp_path / "src"))


@pytest.mark.parametrize("decide", [keep, drop_two, change_some(2)])
@pytest.mark.parametrize("kind", ["folder", "hf", "parquet"])
def test_shards_are_small_and_hold_every_row_in_order(tmp_path: Path, kind: str, decide) -> None:
    if kind == "folder":
        source = open_source(make_tree(tmp_path / "src", {f"{'ab'[i % 2]}/{i}.png": image_bytes(i) for i in range(12)}))
    elif kind == "hf":
        labelled(12).save_to_disk(str(tmp_path / "src"))
        source = open_source(tmp_path / "src")
    else:
        source = open_source(repository(tmp_path / "src", "", data__train0=5, data__train1=7, data__test=3))
    outputs = emit(source, "parquet", tmp_path / "dst", decide, BYTES)
    place = tmp_path / "dst" / ("data" if kind == "parquet" else "")
    files = sorted(place.glob("train-*.parquet"))
    assert [file.name for file in files] == [f"train-{number:05d}.parquet" for number in range(len(files))]
    rows = [pq.read_table(file) for file in files]
    assert len(files) > 2
    assert all(part.nbytes <= BYTES for part in rows)
    assert all(part.nbytes + next_.slice(0, 1).nbytes > BYTES for part, next_ in pairwise(rows))
    places = [f"{file.stem}/{row:08d}" for file, part in zip(files, rows, strict=True) for row in range(len(part))]
    assert [output for output in outputs if output] == places
    again = open_table(tmp_path / "dst")
    assert [sample.id for sample in again.samples] == places
    assert len(load(tmp_path / "dst", tmp_path / "cache")["train"]) == len(places)
    emit(source, "parquet", tmp_path / "twice", decide, BYTES)
    assert read_tree(tmp_path / "twice", skip="") == read_tree(tmp_path / "dst", skip="")
    assert restore(tmp_path / "dst", tmp_path / "back") == len(source.samples)
    if kind == "parquet":
        same = {"data/test.parquet", "README.md", ".gitattributes", "scripts/make.py"}
        assert {name: read_tree(tmp_path / "back")[name] for name in same} == {
            name: read_tree(tmp_path / "src")[name] for name in same
        }
        for name in ("train0", "train1"):
            old = pq.read_table(tmp_path / f"src/data/{name}.parquet")
            assert pq.read_table(tmp_path / f"back/data/{name}.parquet").equals(old)


CARD = """configs:
- config_name: x
  default: true
  data_files:
  - split: seen
    path: {}
  - split: rest
    path: b/*
"""


@pytest.mark.parametrize(("pattern", "stays"), [("a/*", True), ("a/one.parquet", False)])
def test_the_card_tells_the_shards(tmp_path: Path, pattern: str, stays: bool) -> None:
    src = repository(tmp_path / "src", CARD.format(pattern), a__one=9, b__two=3)
    emit(open_source(src, split="seen"), "parquet", tmp_path / "dst", keep, BYTES)
    assert len(list((tmp_path / "dst/a").glob("seen-*.parquet"))) > 2
    assert {name: len(part) for name, part in load(tmp_path / "dst", tmp_path / "cache").items()} == {
        "seen": 9,
        "rest": 3,
    }
    assert (read_tree(src)["README.md"] == read_tree(tmp_path / "dst")["README.md"]) == stays
    restore(tmp_path / "dst", tmp_path / "back")
    assert read_tree(src)["README.md"] == read_tree(tmp_path / "back")["README.md"]


def test_a_shard_does_not_take_the_name_of_another_split(tmp_path: Path) -> None:
    card = (
        "configs:\n- config_name: x\n  data_files:\n  - split: a\n    path: one.parquet\n  - split: b\n    path: a-*\n"
    )
    src = repository(tmp_path / "src", card, **{"one": 4, "a-00001": 3})
    with pytest.raises(ElixirError, match=r"a-00001\.parquet of another split has the name of a shard; leave out"):
        open_sink("parquet", tmp_path / "dst", open_source(src, split="a"), BYTES)


def test_a_row_that_is_larger_than_a_shard_has_one_of_its_own(tmp_path: Path) -> None:
    big = np.random.default_rng(0).bytes(3 * BYTES)
    rows = pa.table({"image": [b"a", b"b", big, b"c"], "label": [0, 1, 0, 1]})
    pq.write_table(rows, tmp_path / "src.parquet")
    emit(
        open_source(tmp_path / "src.parquet"),
        "parquet",
        tmp_path / "dst",
        lambda _, index: Decision("kept", index % 2),
        BYTES,
    )
    lengths = [pq.read_metadata(file).num_rows for file in sorted((tmp_path / "dst").glob("*.parquet"))]
    assert lengths == [2, 1, 1]


def test_an_output_without_rows_is_one_file(tmp_path: Path) -> None:
    emit(open_source(table(3)), "parquet", tmp_path / "dst", lambda _, index: Decision("dropped", 0), BYTES)
    assert [pq.read_metadata(file).num_rows for file in (tmp_path / "dst").glob("*.parquet")] == [0]


def test_sizes() -> None:
    sizes = {7: 7, "7": 7, "500MB": 500_000_000, "1GB": 10**9, "2GiB": 2 << 30, "3kb": 3000 // 8}
    assert {given: shard_bytes(given) for given in sizes} == sizes
    for wrong in ("", "big", "1.5.GB", "-1GB", "0", 0, -3, "5XB"):
        with pytest.raises(ElixirError, match=r'is no size of a file: .*; give bytes, or "500MB" or "1GB"'):
            shard_bytes(wrong)
