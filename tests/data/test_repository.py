"""Folders of parquet files as the Hugging Face hub has them: what is read, what is kept beside, what the card says."""

import json
import shlex
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
from huggingface_hub.repocard import metadata_load

from elixir.data.open import open_sink, open_source
from elixir.data.restore import restore
from elixir.data.sink import Decision
from elixir.data.source import Kind, Source
from elixir.errors import ElixirError

from .conftest import change_some, emit, image_bytes, make_tree, open_table, read_tree, table

TEXT = "\n# Signs\r\n\r\nOf three kinds \u00a7 \n---\nnot: yaml\n"
ATTRIBUTES = b"*.parquet filter=lfs\r\n"


def labelled(rows: int, start: int = 0) -> datasets.Dataset:
    return table(rows + 1, start).select(range(rows))


def repository(root: Path, card: str = "", **files: int) -> Path:
    """Parquet files of so many rows, with "__" for "/", a card and what else there is on the hub."""
    for number, (name, rows) in enumerate(files.items()):
        path = root / f"{name.replace('__', '/')}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        labelled(rows, 100 * number).to_parquet(str(path))
    (root / "README.md").write_bytes((f"---\n{card}---\n" if card else "").encode() + TEXT.encode())
    return make_tree(root, {".gitattributes": ATTRIBUTES, "scripts/make.py": b"print()\n"})


def load(folder: Path, cache: Path) -> Any:
    """As users load it; it checks the sizes that the card tells."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", cache)
        patch.setattr("datasets.config.HF_MODULES_CACHE", str(cache / "modules"))
        return datasets.load_dataset(str(folder), cache_dir=str(cache))


CONFIGS = """license: mit
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: test
    path: data/test-*
"""
SIZES = """dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
          '0': cat
          '1': dog/2
          '2': ..
  - name: track
    dtype: int32
  splits:
  - name: train
    num_bytes: 1000
    num_examples: 5
  - name: test
    num_bytes: 500
    num_examples: 3
  download_size: 1400
  dataset_size: 1500
"""


def drop_two(source: Source, index: int) -> Decision:
    return Decision("dropped" if index < 2 else "kept", source.samples[index].label)


def keep_all(source: Source, index: int) -> Decision:
    return Decision("kept", source.samples[index].label)


def written_notes(source: Source, kind: Kind, dst: Path) -> list[str]:
    sink = open_sink(kind, dst, source)
    for index in range(len(source.samples)):
        sink.write(index, drop_two(source, index))
    sink.close()
    return sink.notes


@pytest.mark.parametrize("card", ["", CONFIGS, CONFIGS + SIZES])
@pytest.mark.parametrize("decide", [keep_all, drop_two, change_some(1)])
def test_a_repository_stays_one(tmp_path: Path, card: str, decide) -> None:
    src = repository(tmp_path / "src", card, **{"data__train-00000-of-00001": 5, "data__test-00000-of-00001": 3})
    assert {name: len(part) for name, part in load(src, tmp_path / "c1").items()} == {"train": 5, "test": 3}
    outputs = emit(open_source(src), "parquet", tmp_path / "dst", decide)
    before, after = read_tree(src), read_tree(tmp_path / "dst")
    assert before.keys() == after.keys()
    changed = {name for name in before if before[name] != after[name]} - {"data/train-00000-of-00001.parquet"}
    assert changed == ({"README.md"} if SIZES in card and decide is not keep_all else set())
    loaded = load(tmp_path / "dst", tmp_path / "c2")
    rows = len(list(filter(None, outputs)))
    assert {name: len(part) for name, part in loaded.items()} == {"train": rows, "test": 3}
    restore(tmp_path / "dst", tmp_path / "back")
    back = read_tree(tmp_path / "back")
    name = "data/train-00000-of-00001.parquet"
    assert back.pop(name)
    assert back == {key: value for key, value in before.items() if key != name}
    assert pq.read_table(tmp_path / "back" / name).equals(pq.read_table(src / name))


def test_the_card_is_corrected_and_the_rest_of_it_stays(tmp_path: Path) -> None:
    src = repository(tmp_path / "src", CONFIGS + SIZES, data__train=5, data__test=3)
    (src / "README.md").write_bytes((src / "README.md").read_bytes().replace(b"data/train-*", b"data/train*"))
    (src / "README.md").write_bytes((src / "README.md").read_bytes().replace(b"data/test-*", b"data/test*"))
    notes = ["README.md tells other sizes or files now; the original is in .elixir/originals"]
    assert written_notes(open_source(src), "parquet", tmp_path / "dst") == notes
    card, old = metadata_load(str(tmp_path / "dst/README.md")), metadata_load(str(src / "README.md"))
    assert card is not None
    assert old is not None
    assert (tmp_path / "dst/README.md").read_bytes().endswith(b"---\n" + TEXT.encode())
    assert card["dataset_info"]["splits"] == [{"name": "train", "num_examples": 3}, {"name": "test", "num_examples": 3}]
    assert card["dataset_info"].keys() == {"features", "splits"}
    assert {**card, "dataset_info": None} == {**old, "dataset_info": None}
    original = tmp_path / "dst/.elixir/originals/README.md"
    assert original.read_bytes() == (src / "README.md").read_bytes()


def test_figures_of_older_versions_are_corrected_too(tmp_path: Path) -> None:
    src = repository(tmp_path / "src", "", train=5, valid=3)
    splits = {name: {"name": name, "num_examples": rows} for name, rows in (("train", 5), ("validation", 3))}
    (src / "dataset_infos.json").write_text(json.dumps({"me--signs": {"splits": splits, "download_size": 3}}))
    load(src, tmp_path / "c1")
    emit(open_source(src, split="valid"), "parquet", tmp_path / "dst", drop_two)
    assert {name: len(part) for name, part in load(tmp_path / "dst", tmp_path / "c2").items()} == {
        "train": 5,
        "validation": 1,
    }
    restore(tmp_path / "dst", tmp_path / "back")
    assert (tmp_path / "back/dataset_infos.json").read_bytes() == (src / "dataset_infos.json").read_bytes()


def test_notes_tell_what_nobody_has_looked_at(tmp_path: Path) -> None:
    src = make_tree(repository(tmp_path / "src", "", data__train=5), {"logo.png": image_bytes(1), ".git/config": b"x"})
    (src / "LICENSE").symlink_to(make_tree(tmp_path / "else", {"LICENSE": b"MIT"}) / "LICENSE")
    source = open_source(src)
    notes = " / ".join(source.notes)
    assert "not looked at: logo.png, scripts/make.py" in notes
    assert "not in the output: .git" in notes
    assert "LICENSE, symbolic link that leaves the folder; add --follow-links" in notes
    emit(source, "parquet", tmp_path / "dst")
    assert read_tree(tmp_path / "dst").keys() == read_tree(src).keys() - {".git", ".git/config", "LICENSE"}
    emit(open_source(src, follow_links=True), "parquet", tmp_path / "followed")
    assert (tmp_path / "followed/LICENSE").read_bytes() == b"MIT"
    assert not (tmp_path / "followed/LICENSE").is_symlink()


@pytest.mark.parametrize("sink", ["hf", "folder"])
def test_what_lies_beside_comes_back_from_other_kinds_too(tmp_path: Path, sink) -> None:
    src = repository(tmp_path / "src", CONFIGS, **{"data__train-0": 5, "data__test-0": 3})
    notes = written_notes(open_source(src), sink, tmp_path / "notes")
    emit(open_source(src), sink, tmp_path / "dst", change_some(1))
    assert not (tmp_path / "dst/README.md").exists()
    assert "3 other files are not in the output but in .elixir/originals" in str(notes)
    restore(tmp_path / "dst", tmp_path / "back")
    before, back = read_tree(src), read_tree(tmp_path / "back")
    assert back == {name: data for name, data in before.items() if name in back} | {
        "data/train-0.parquet": back["data/train-0.parquet"]
    }
    assert before.keys() - back.keys() <= {"data/test-0.parquet"}


@pytest.mark.parametrize(
    ("files", "card"),
    [
        ({"full__train": 5, "full__test": 3, "tiny__train": 2, "tiny__test": 2}, ""),
        ({"data__full__train": 5, "data__tiny__train": 2}, ""),
        ({"train": 5, "tiny__train": 2}, ""),
        (
            {"data__full-train": 5, "data__full-test": 2, "data__tiny-train": 2},
            "configs: [{config_name: full, data_files: data/full*}, {config_name: tiny, data_files: data/tiny*}]\n",
        ),
        (
            {"all__train": 5, "all__test": 3, "few__train": 2},
            "configs:\n- {config_name: full, data_dir: all}\n- {config_name: tiny, data_dir: few}\n",
        ),
    ],
)
def test_configurations_are_not_merged(tmp_path: Path, files: dict[str, int], card: str) -> None:
    src = repository(tmp_path / "a [1]", card, **files)
    with pytest.raises(ElixirError, match=r"several configurations \(.*, tiny\), which are not merged") as refused:
        open_source(src)
    commands = [shlex.split(each) for each in str(refused.value).partition("own: ")[2].split(", ")]
    assert all(command[:2] == ["elixir", "sanitize"] and command[3:] == ["-o", "DST"] for command in commands)
    found = [len(open_table(place).samples) for _, _, place, *_ in commands]
    assert sum(found) >= 7
    assert 2 in found


@pytest.mark.parametrize(
    "files", [{"mnist__train": 5, "mnist__test": 3}, {"train__0": 5, "test__0": 3}, {"mnist__data__train-0": 5}]
)
def test_a_single_folder_is_no_choice(tmp_path: Path, files: dict[str, int]) -> None:
    src = make_tree(repository(tmp_path / "src", "", **files), {".cache/x": b"", "__MACOSX/._a": b"", "@eaDir/b": b""})
    source = open_table(src)
    assert source.split == "train"
    assert len(source.samples) == 5
    emit(source, "parquet", tmp_path / "dst")
    assert all((tmp_path / "dst" / f"{name.replace('__', '/')}.parquet").is_file() for name in files)


@pytest.mark.parametrize("form", ["text", "list", "splits"])
def test_the_card_tells_the_splits(tmp_path: Path, form: str) -> None:
    files = {"data__a": 5, "data__b": 3, "more__c": 2, "odd": 4}
    lines = {
        "text": "  data_files: data/*",
        "list": "  data_files: [data/a.parquet, data/b.*]",
        "splits": """  data_files:
  - split: seen
    path: [data/a.parquet, 'more/**']
  - split: unseen
    path: ./data/b*""",
    }
    src = repository(tmp_path / "src", f"configs:\n- config_name: x\n{lines[form]}\n", **files)
    loaded = load(src, tmp_path / "cache")
    for name, part in loaded.items():
        source = open_table(src, split=name)
        assert [source.rows.row(row)["track"][0].as_py() for row in range(len(source.samples))] == part["track"][:]
        assert any("odd.parquet" in note for note in source.notes)
    if form == "splits":
        assert loaded.keys() == {"seen", "unseen"}
        with pytest.raises(ElixirError, match="no split 'train' but seen, unseen"):
            open_source(src)
        emit(open_source(src, split="unseen"), "parquet", tmp_path / "dst", drop_two)
        assert {name: len(part) for name, part in load(tmp_path / "dst", tmp_path / "c2").items()} == {
            "seen": 7,
            "unseen": 1,
        }


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("/etc/*", "names '/etc/\\*', which is no file beside it"),
        ("../src/*.parquet", "which is no file beside it"),
        ("https://host/train.parquet", "which is no file beside it"),
        ("data/*.csv", "but there is no such parquet file"),
        ("7", "no valid form"),
        ("[{split: a, path: '*'}, {split: b, path: train*}]", "in two splits"),
        ("[{split: ../a, path: '*'}]", "no valid form"),
    ],
)
def test_a_card_that_leads_elsewhere(tmp_path: Path, files: str, message: str) -> None:
    src = repository(tmp_path / "src", f"configs:\n- config_name: x\n  data_files: {files}\n", train=3)
    with pytest.raises(ElixirError, match=f"README.md .*{message}"):
        open_source(src)


@pytest.mark.parametrize("content", [b"---\n[1\n---\n", b"---\n- 1\n---\n", b"\xff\xfe", b"---\n" + b"[" * 9999])
def test_a_card_that_cannot_be_read_is_kept(tmp_path: Path, content: bytes) -> None:
    src = repository(tmp_path / "src", "", train=5)
    (src / "README.md").write_bytes(content)
    emit(open_source(src), "parquet", tmp_path / "dst", drop_two)
    assert (tmp_path / "dst/README.md").read_bytes() == content


def test_a_file_that_may_not_be_of_the_split(tmp_path: Path) -> None:
    src = repository(tmp_path / "src", "", train=5, extra=3)
    with pytest.raises(ElixirError, match=r"extra\.parquet lies beside files of the split 'train' and names none"):
        open_source(src)
    assert len(open_source(repository(tmp_path / "parts", "", part0=5, part1=3, test=2)).samples) == 8


def test_a_folder_that_cannot_be_seen_is_not_passed_over(tmp_path: Path) -> None:
    src = repository(tmp_path / "src", "", train=5)
    (src / "test").symlink_to(repository(tmp_path / "else", "", test=3))
    with pytest.raises(ElixirError, match=r"test in .* cannot be looked into: symbolic link that leaves the folder"):
        open_source(src)
    (src / "test").unlink()
    (src / "test.parquet").symlink_to("nowhere")
    with pytest.raises(ElixirError, match=r"test\.parquet in .* cannot be read: no such file"):
        open_source(src)
