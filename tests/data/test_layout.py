"""What the folders of a tree are: classes, or what else, which is refused with the command that is meant."""

import re
from pathlib import Path

import pytest

from elixir.data.files.layout import split_of
from elixir.data.open import open_source
from elixir.data.restore import restore
from elixir.errors import ElixirError

from .conftest import change_some, emit, image_bytes, make_tree, read_tree

PNG = image_bytes(0)
SPLIT = r"are splits, not classes; give `elixir sanitize \S*/src --split {} -o DST`, .*; where .* folder:\S*/src$"
LISTS = "put the images into one folder per class, or give a CSV or JSONL file"


def files(*folders: str) -> dict[str, bytes]:
    return {f"{folder}/{name}.png": image_bytes(len(folder)) for folder in folders for name in "ab"}


def split_tree(*splits: str) -> dict[str, bytes]:
    return files(*(f"{split}/{name}" for split in splits for name in ("cat", "dog")))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *[(name, "train") for name in ("train", "Training", "TRAIN", "train_images", "01-Train", "trainSet", "tr17")],
        *[(name, "test") for name in ("test", "Testing", "TST", "test_set", "testing_data", "eval")],
        *[(name, "validation") for name in ("val", "valid", "Validation", "dev", "val2017", "ValidSet")],
        *[(name, None) for name in ("cat", "bus_train", "invalid", "training_shoes", "device", "0", "", "réseau")],
    ],
)
def test_names_of_splits(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (split_tree("Training", "Testing"), SPLIT.format("Training")),
        (split_tree("TRAIN", "TEST"), SPLIT.format("TRAIN")),
        (split_tree("val", "test"), SPLIT.format("(val|test)")),
        (split_tree("train"), SPLIT.format("train")),
        (split_tree("train_set", "hold out", "extra"), "--split|have the same folders"),
        ({**split_tree("train", "test"), "__MACOSX/train/cat/._a.png": PNG}, SPLIT.format("train")),
        ({**split_tree("train"), "annotations/list.txt": b"cat"}, SPLIT.format("train")),
        ({**split_tree("train"), **files("preview")}, SPLIT.format("train")),
        ({**split_tree("train", "val"), **files("unsorted")}, SPLIT.format("train")),
        (split_tree("data/train", "data/val"), r"give `elixir sanitize \S*/src/data --split train -o DST`"),
        (files("train", "test"), f"are splits and have no class folders in them; {LISTS}"),
        (files("train"), f"are splits and have no class folders in them; {LISTS}"),
        (
            split_tree("PetImages"),
            r"src but those of \S*/PetImages; give `elixir sanitize \S*/PetImages -o",
        ),
        ({**split_tree("data"), **files("docs", "thumbs")}, r"src but those of \S*/src/data; give"),
        (split_tree("images", "masks"), r"for kinds of files, not for classes; give \S*/images or \S*/masks; where"),
        ({**split_tree("labeled"), **files("unlabeled")}, SPLIT.format("labeled")),
        (split_tree("a/b/c"), r"give `elixir sanitize \S*/src/a/b/c -o DST`"),
        (
            split_tree("part1", "part2"),
            r"have the same folders \(cat, dog\).*give `elixir sanitize \S*/src --split part1",
        ),
        (
            files("cat/train", "cat/test", "dog/train", "dog/test"),
            r"same folders \(test, train\) .* which are no classes",
        ),
        (files("covid/images", "covid/masks", "normal/images", "normal/masks"), "which are no classes; take out"),
        (files("images", "masks"), f"are for kinds of files, not for classes; {LISTS}"),
        ({**files("images"), "annotations/list.txt": b"a"}, f"for kinds of files, not for classes; {LISTS}"),
        (files("JPEGImages", "SegmentationClass"), "for kinds of files"),
        (files("cat"), "lie in one folder, cat: with a single class there is nothing to tell apart"),
        ({"a.png": PNG, "b.png": PNG}, f"has images but no class folders; {LISTS}"),
        (files("x/blobs", "x/snapshots/abc/train"), r"is the Hugging Face cache of a dataset; give \S*/snapshots/abc,"),
    ],
)
def test_what_is_no_class_is_refused_with_the_way_out(tmp_path: Path, tree: dict[str, bytes], message: str) -> None:
    with pytest.raises(ElixirError, match=message):
        open_source(make_tree(tmp_path / "src", tree))


@pytest.mark.parametrize(
    ("tree", "classes"),
    [
        (files("bus", "car", "train"), ["bus", "car", "train"]),
        (files("valid", "invalid"), ["invalid", "valid"]),
        (files("images", "text"), ["images", "text"]),
        (files("stop/00001", "stop/00002", "yield/00003"), ["stop", "yield"]),
        (files("cat/sub", "dog/sub"), ["cat", "dog"]),
        ({**files("cat", "dog"), "annotations/classes.txt": b"cat"}, ["cat", "dog"]),
        (
            {**files("cat", "dog", "@eaDir", "$RECYCLE.BIN/x", "lost+found", "System Volume Information")},
            ["cat", "dog"],
        ),
    ],
)
def test_classes(tmp_path: Path, tree: dict[str, bytes], classes: list[str]) -> None:
    assert open_source(make_tree(tmp_path / "src", tree)).classes == classes


def test_classes_with_the_names_of_splits_are_told(tmp_path: Path) -> None:
    source = open_source(make_tree(tmp_path / "src", files("bus", "car", "train")))
    assert source.notes == ["read as a class, though it may be a split by its name: train"]


def test_what_lies_beside_the_classes_is_told(tmp_path: Path) -> None:
    tree = {**files("cat", "dog"), "banner.jpg": PNG, "notes.txt": b"text", ".hidden.png": PNG}
    source = open_source(make_tree(tmp_path / "src", tree))
    assert source.notes == ["images outside of the class folders, copied and not judged: 1 (banner.jpg)"]
    source = open_source(make_tree(tmp_path / "deep", files("animal/cat", "vehicle/car")))
    assert source.notes == [
        "the classes are the upper folders (animal, vehicle); the folders in them are not told apart"
    ]


@pytest.mark.parametrize("split", ["Training", "train"])
def test_one_split_is_cleaned_and_all_else_copied(tmp_path: Path, split: str) -> None:
    tree = {**split_tree("Training", "Testing"), "README.md": b"# signs", "Training/list.txt": b"a"}
    src = make_tree(tmp_path / "src", tree)
    source = open_source(src, split=split)
    assert (source.classes, len(source.samples)) == (["cat", "dog"], 4)
    assert source.samples[0].id == "Training/cat/a.png"
    assert source.notes == [
        "images outside of the split Training, copied and not judged: 4 "
        "(Testing/cat/a.png, Testing/cat/b.png, Testing/dog/a.png, …)"
    ]
    outputs = emit(source, "folder", tmp_path / "dst", change_some(1))
    assert all(re.match("Training/(cat|dog)/", output) for output in outputs if output)
    untouched = {path: data for path, data in read_tree(src).items() if not path.endswith(("a.png", "b.png"))}
    testing = {path: data for path, data in read_tree(src).items() if path.startswith("Testing")}
    assert (untouched | testing).items() <= read_tree(tmp_path / "dst").items()
    restore(tmp_path / "dst", tmp_path / "back")
    assert read_tree(tmp_path / "back") == read_tree(src)


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    src = make_tree(tmp_path / "src", split_tree("Training", "Testing"))
    with pytest.raises(ElixirError, match="no folder 'val' that could be this split but Testing, Training; name one"):
        open_source(src, split="val")
    with pytest.raises(ElixirError, match=r"no folder '\.\./src' that could be"):
        open_source(src, split="../src")
    make_tree(src, split_tree("train_images"))
    with pytest.raises(
        ElixirError, match="no folder 'train' that could be this split but Training, train_images; name"
    ):
        open_source(src, split="train")
