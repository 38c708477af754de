"""Every kind of output from every kind of input: nothing lost, nothing overwritten, the same bytes each time."""

import os
import shutil
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image

from elixir.data.image import decode, encode
from elixir.data.open import open_sink, open_source
from elixir.data.restore import restore
from elixir.data.sink import Decision
from elixir.data.source import Source
from elixir.errors import ElixirError

from .conftest import change_some, emit, image_bytes, keep, make_tree, open_table, read_tree, table

PNG = image_bytes(100)


def decisions(**by_id: Decision):
    """These for the samples named (with "__" for "/" and "_" for "."), the others are kept."""
    return lambda source, index: by_id.get(
        source.samples[index].id.replace("/", "__").replace(".", "_"), keep(source, index)
    )


def test_kept_folder_is_the_same_tree(tree: Path, tmp_path: Path) -> None:
    os.utime(tree / "cat/a.png", ns=(10**18, 10**18))
    outputs = emit(open_source(tree), "folder", tmp_path / "dst")
    assert outputs[0] == "cat/a.png"
    assert read_tree(tmp_path / "dst") == read_tree(tree)
    assert (tmp_path / "dst/cat/a.png").stat().st_mtime_ns == 10**18


def test_changed_samples_in_a_folder(tree: Path, tmp_path: Path) -> None:
    decide = decisions(
        cat__a_png=Decision("relabelled", 1),
        cat__b_jpg=Decision("purified", 0, PNG),
        cat__sub__c_webp=Decision("relabelled", 2, PNG),
        dog__a_png=Decision("purified", 1, PNG),
        dog__d_bmp=Decision("dropped", 1),
        dog__e_ppm=Decision("quarantined", 1),
    )
    outputs = emit(open_source(tree), "folder", tmp_path / "dst", decide)
    assert outputs == ["dog/a-1.png", "cat/b.png", "empty/sub/c.png", "dog/a.png", "", "", "dog/f.tiff"]
    written = read_tree(tmp_path / "dst")
    assert written["dog/a-1.png"] == (tree / "cat/a.png").read_bytes()
    assert written["cat/b.png"] == written["empty/sub/c.png"] == written["dog/a.png"] == PNG
    assert not {"cat/a.png", "cat/b.jpg", "dog/d.bmp", "dog/e.ppm"} & set(written)
    run = tmp_path / "dst/.elixir"
    for id in ("cat/a.png", "cat/b.jpg", "cat/sub/c.webp", "dog/a.png", "dog/d.bmp"):
        assert (run / "originals" / id).read_bytes() == (tree / id).read_bytes()
    assert (run / "quarantine/dog/e.ppm").read_bytes() == (tree / "dog/e.ppm").read_bytes()
    manifest = pq.read_table(run / "manifest.parquet").to_pylist()
    assert [row["original"] for row in manifest if row["id"] in ("dog/e.ppm", "cat/a.png", "dog/f.tiff")] == [
        ".elixir/originals/cat/a.png",
        ".elixir/quarantine/dog/e.ppm",
        "",
    ]


def test_hidden_samples_stay_hidden(tmp_path: Path) -> None:
    names = [".a", ".b.jpg", ".c.png", ".d/e.bmp", ".f.png"]
    source = open_source(
        make_tree(tmp_path / "src", {f"cat/{name}": image_bytes(6) for name in names} | {"dog/.f.png": PNG})
    )
    answers = [Decision("kept", 0), *[Decision("purified", 0, PNG)] * 3, Decision("relabelled", 1), Decision("kept", 1)]
    outputs = emit(source, "folder", tmp_path / "dst", lambda _, index: answers[index])
    assert outputs == ["cat/.a", "cat/.b.png", "cat/.c.png", "cat/.d/e.png", "dog/.f-1.png", "dog/.f.png"]
    assert restore(tmp_path / "dst", tmp_path / "back") == 6
    assert read_tree(tmp_path / "back") == read_tree(tmp_path / "src")


def test_names_in_use_are_not_taken(tmp_path: Path) -> None:
    files = {"cat/x.jpg": image_bytes(0, "JPEG"), "cat/x.bmp": image_bytes(1, "BMP"), "cat/X.PNG": image_bytes(2)}
    files |= {"dog/x": image_bytes(3), "dog/y.png/z.png": image_bytes(4), "fox/x/deep.png": image_bytes(5)}
    files |= {"fox/y.png": image_bytes(6), "dog/X-1.png": image_bytes(7), "dog/x.txt": b"text"}
    source = open_source(make_tree(tmp_path / "src", files))
    decide = decisions(
        cat__x_jpg=Decision("purified", 0, PNG),
        cat__x_bmp=Decision("purified", 0, PNG),
        cat__X_PNG=Decision("relabelled", 1),
        fox__x__deep_png=Decision("relabelled", 1),
        fox__y_png=Decision("relabelled", 1),
    )
    outputs = dict(
        zip((sample.id for sample in source.samples), emit(source, "folder", tmp_path / "dst", decide), strict=True)
    )
    assert outputs["cat/X.PNG"] == "dog/X.PNG"
    assert outputs["cat/x.bmp"] == "cat/x-1.png"
    assert outputs["cat/x.jpg"] == "cat/x-2.png"
    assert outputs["fox/x/deep.png"] == "dog/deep.png"  # "x" is a file there
    assert outputs["fox/y.png"] == "dog/y-1.png"  # "y.png" is a folder there
    assert len({path.lower() for path in outputs.values()}) == len(files) - 1


def test_longest_name_gets_a_number(tmp_path: Path) -> None:
    name = "é" * 125 + "x.png"
    files = {f"cat/{name}": image_bytes(0), f"dog/{name}": image_bytes(1), f"dog/{'n' * 255}": image_bytes(2)}
    source = open_source(make_tree(tmp_path / "src", files))
    answers = [Decision("relabelled", 1), Decision("purified", 1, PNG), keep(source, 2)]
    outputs = emit(source, "folder", tmp_path / "dst", lambda _, index: answers[index])
    assert len(set(outputs)) == 3
    assert all(len(os.fsencode(Path(output).name)) <= 255 for output in outputs)
    assert len(read_tree(tmp_path / "dst")) == 5


def test_unreadable_samples_are_kept_aside(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "src", {"cat/a.png": PNG, "cat/zero.png": b"", "cat/text.png": b"hello"})
    (tmp_path / "secret.png").write_bytes(image_bytes(9))
    (root / "cat/out.png").symlink_to(tmp_path / "secret.png")
    (root / "cat/loop.png").symlink_to("loop.png")
    os.mkfifo(root / "cat/pipe.png")
    emit(open_source(f"folder:{root}"), "folder", tmp_path / "dst")
    assert read_tree(tmp_path / "dst") == {"cat": None, "cat/a.png": PNG}
    aside = tmp_path / "dst/.elixir/quarantine/cat"
    assert (aside / "zero.png").read_bytes() == b""
    assert (aside / "text.png").read_bytes() == b"hello"
    assert (aside / "loop.png").readlink() == Path("loop.png")
    assert (aside / "out.png").readlink() == tmp_path / "secret.png"


def test_what_cannot_be_copied_is_listed(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "src", {"cat/a.png": PNG, "cat/gone.png": PNG, "notes.txt": b"text"})
    source = open_source(f"folder:{root}")
    (root / "cat/gone.png").unlink()
    (root / "notes.txt").unlink()
    sink = open_sink("folder", tmp_path / "dst", source)
    sink.write(0, Decision("kept", 0))
    sink.write(1, Decision("quarantined", 0))
    sink.close()
    assert sink.unreadable_files == ["cat/gone.png", "notes.txt"]
    assert sink.original(1, Decision("quarantined", 0)) == ""


def test_a_file_system_without_permissions(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(shutil, "copystat", refuse)
    emit(open_source(tree), "folder", tmp_path / "dst")
    assert read_tree(tmp_path / "dst") == read_tree(tree)


def test_sample_that_vanishes_is_not_lost_in_silence(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "src", {"cat/a.png": PNG})
    source = open_source(f"folder:{root}")
    (root / "cat/a.png").unlink()
    for kind in ("folder", "hf"):
        with pytest.raises(ElixirError, match=r"^cat/a\.png cannot be read any more: no such file"):
            open_sink(kind, tmp_path / kind, source).write(0, Decision("kept", 0))


def test_row_whose_image_vanishes_is_not_lost_in_silence(tmp_path: Path) -> None:
    make_tree(tmp_path, {"a.png": PNG})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat"])})
    rows = datasets.Dataset.from_dict({"image": [str(tmp_path / "a.png")], "label": [0]}, features=features)
    source = open_source(rows)
    (tmp_path / "a.png").unlink()
    with pytest.raises(ElixirError, match=r"^train/00000000 cannot be read any more: no image"):
        open_sink("folder", tmp_path / "dst", source).write(0, Decision("kept", 0))


@pytest.mark.parametrize("kind", ["folder", "hf", "parquet"])
def test_output_folder_must_be_empty(tree: Path, tmp_path: Path, kind) -> None:
    make_tree(tmp_path / "dst", {"mine.txt": b"text"})
    with pytest.raises(ElixirError, match="not empty"):
        open_sink(kind, tmp_path / "dst", open_source(tree))
    assert read_tree(tmp_path / "dst") == {"mine.txt": b"text"}


@pytest.mark.parametrize("kind", ["folder", "hf", "parquet"])
def test_full_disk(tree: Path, tmp_path: Path, kind, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
    monkeypatch.setattr("elixir.data.tables.hf.ArrowWriter._finish_shard", full)
    with pytest.raises(ElixirError, match="no space left on device"):
        emit(open_source(tree), kind, tmp_path / "dst")


def test_read_only_place(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ElixirError, match="cannot write"):
        open_sink("folder", tmp_path / "file/dst", open_source(tree))


@pytest.mark.parametrize("kind", ["folder", "hf", "parquet"])
def test_the_same_bytes_again_after_an_interruption(tree: Path, tmp_path: Path, kind) -> None:
    decide = change_some(3)
    emit(open_source(tree), kind, tmp_path / "one", decide)
    sink = open_sink(kind, tmp_path / "two", open_source(tree))
    sink.write(0, Decision("quarantined", 0))
    for child in (tmp_path / "two").iterdir():
        if child.name != ".elixir":
            shutil.rmtree(child) if child.is_dir() else child.unlink()
    emit(open_source(tree), kind, tmp_path / "two", decide)
    assert read_tree(tmp_path / "one", skip="") == read_tree(tmp_path / "two", skip="")


@pytest.mark.parametrize("kind", ["hf", "parquet"])
def test_folder_as_a_table(tree: Path, tmp_path: Path, kind) -> None:
    decide = decisions(cat__b_jpg=Decision("relabelled", 1, PNG), dog__e_ppm=Decision("dropped", 1))
    outputs = emit(open_source(tree), kind, tmp_path / "dst", decide)
    stem = "train" if kind == "hf" else "train-00000-of-00001"
    assert outputs == [f"{stem}/{row:08d}" if row is not None else "" for row in (0, 1, 2, 3, 4, None, 5)]
    again = open_source(tmp_path / "dst")
    assert again.kind == kind
    assert again.classes == ["cat", "dog", "empty"]
    assert [sample.label for sample in again.samples] == [0, 1, 0, 1, 1, 1]
    assert again.read(1) == PNG
    assert again.read(2) == (tree / "cat/sub/c.webp").read_bytes()
    assert (tmp_path / "dst/.elixir/originals/cat/b.jpg").read_bytes() == (tree / "cat/b.jpg").read_bytes()
    assert (tmp_path / "dst/.elixir/originals/dog/notes.txt").read_bytes() == b"not an image"


def test_hugging_face_reads_the_output(tree: Path, tmp_path: Path) -> None:
    emit(open_source(tree), "hf", tmp_path / "hf")
    emit(open_source(tree), "parquet", tmp_path / "parquet")
    saved = datasets.Dataset.load_from_disk(str(tmp_path / "hf"))
    files = str(tmp_path / "parquet/train-00000-of-00001.parquet")
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert saved.features == loaded.features
    assert {image.size for image in [*saved["image"], *loaded["image"]]} == {(5, 6)}
    assert saved.features["label"].names == ["cat", "dog", "empty"]


@pytest.mark.parametrize("kind", ["hf", "parquet"])
def test_tables_are_written_in_ascending_order(tree: Path, tmp_path: Path, kind) -> None:
    sink = open_sink(kind, tmp_path / "dst", open_source(tree))
    sink.write(1, Decision("kept", 0))
    with pytest.raises(ValueError, match="ascending"):
        sink.write(0, Decision("kept", 0))


def test_table_as_a_folder(tmp_path: Path) -> None:
    table().save_to_disk(str(tmp_path / "src"))
    source = open_source(tmp_path / "src")
    answers = [keep(source, index) for index in range(7)]
    answers[2] = Decision("relabelled", 0)
    answers[5] = Decision("purified", 2, PNG)
    outputs = emit(source, "folder", tmp_path / "dst", lambda _, index: answers[index])
    assert outputs == ["cat/0.png", "dog%2F2/1.png", "cat/2.png", "cat/3.png", "dog%2F2/0.png", "%2E./1.png", ""]
    written = {path for path, data in read_tree(tmp_path / "dst").items() if data is not None}
    assert written == set(outputs[:6])
    assert (tmp_path / "dst" / outputs[2]).read_bytes() == source.read(2)


def test_classes_that_differ_in_case_alone_keep_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(datasets.Dataset.from_dict({"image": [PNG] * 2, "label": ["Cat", "cat"]}))
    sink = open_sink("folder", tmp_path / "out", source)
    for index in range(2):
        sink.write(index, keep(source, index))
    sink.close()
    assert sorted(str(path.relative_to(tmp_path / "out").parent) for path in (tmp_path / "out").glob("*/*.png")) == [
        "Cat",
        "cat",
    ]
    found = Path.mkdir
    monkeypatch.setattr(Path, "mkdir", lambda path, **options: found(path.with_name(path.name.lower()), **options))
    monkeypatch.setattr("os.path.lexists", lambda path: path.with_name(path.name.lower()).exists())
    with pytest.raises(ElixirError, match="cat would be there twice on this file system"):
        open_sink("folder", tmp_path / "again", source)


def test_a_file_that_is_there_is_not_written_over(tree: Path, tmp_path: Path) -> None:
    source = open_source(tree)
    sink = open_sink("folder", tmp_path / "out", source)
    taken = tmp_path / "out" / source.samples[0].id
    taken.parent.mkdir(exist_ok=True)
    taken.write_bytes(b"mine")
    with pytest.raises(ElixirError, match="upper from lower case"):
        sink.write(0, keep(source, 0))
    assert taken.read_bytes() == b"mine"


def test_names_in_a_folder_from_a_table_without_names(tmp_path: Path) -> None:
    jpeg = image_bytes(1, "JPEG")
    rows = {"image": [{"bytes": data, "path": None} for data in (PNG, jpeg, PNG)], "label": ["a", "a", "b"]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    source = open_source(datasets.Dataset.from_dict(rows, features=features))
    answers = [Decision("kept", 0), Decision("relabelled", 1, PNG), Decision("kept", 1)]
    outputs = emit(source, "folder", tmp_path / "dst", lambda _, index: answers[index])
    assert outputs == ["a/00000000.png", "b/00000001.png", "b/00000002.png"]


@pytest.mark.parametrize("kind", ["hf", "parquet"])
def test_columns_features_and_other_splits_stay(tmp_path: Path, kind) -> None:
    train, test = table(), table(start=50)
    if kind == "hf":
        datasets.DatasetDict({"train": train, "test": test}).save_to_disk(str(tmp_path / "src"))
    else:
        (tmp_path / "src").mkdir()
        for name, part in (
            ("train-0", train.select(range(3))),
            ("train-1", train.select(range(3, 7))),
            ("test-0", test),
        ):
            part.to_parquet(str(tmp_path / f"src/{name}.parquet"))
    source = open_source(tmp_path / "src")
    assert len(source.samples) == 7
    answers = [keep(source, index) for index in range(7)]
    answers[1] = Decision("relabelled", 2, PNG)
    outputs = emit(source, kind, tmp_path / "dst", lambda _, index: answers[index])
    stems = ["train/0000000"] * 7 if kind == "hf" else ["train-0/0000000"] * 3 + ["train-1/0000000"] * 4
    rows = range(6) if kind == "hf" else (0, 1, 2, 0, 1, 2)
    assert outputs == [f"{stem}{row}" for stem, row in zip(stems, rows, strict=False)] + [""]
    if kind == "hf":
        again = datasets.load_from_disk(str(tmp_path / "dst"))
        other = {name: read_tree(tmp_path / name / "test") for name in ("src", "dst")}
        assert other["src"] == other["dst"]
        assert isinstance(again, datasets.DatasetDict)
        written = again["train"]
    else:
        assert (tmp_path / "dst/test-0.parquet").read_bytes() == (tmp_path / "src/test-0.parquet").read_bytes()
        files = [str(tmp_path / f"dst/train-{part}.parquet") for part in (0, 1)]
        written = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert written.features == train.features
    assert written["track"][:] == [0, 11, 22, 33, 44, 55]
    assert written["label"][:] == [0, 2, 2, 0, 1, 2]
    raw = written.cast_column("image", datasets.Image(decode=False))
    assert raw[1]["image"] == {"bytes": PNG, "path": "1.png" if kind == "hf" else raw[1]["image"]["path"]}
    assert raw[2]["image"]["bytes"] == source.read(2)
    aside = pq.read_table(tmp_path / "dst/.elixir/quarantine.parquet").to_pylist()
    assert [(row["elixir_row"], row["track"], row["image"]) for row in aside] == [(6, 66, None)]
    original = pq.read_table(tmp_path / "dst/.elixir/originals.parquet").to_pylist()
    assert [(row["elixir_row"], row["label"], row["image"]["bytes"]) for row in original] == [(1, 1, source.read(1))]


TOLD = {
    "label": [0, 1, 2, 0, 1, 2, None, None],
    "label_name": ["cat", "dog", "car", "cat", "dog", "car", "?", "?"],
    "place": pa.array(["in", "in", None, "in", "in", None, "?", "?"]).dictionary_encode(),
    "coarse_label": [7, 7, 8, 7, 7, 8, 9, 9],
    "alive": [True, True, False, True, True, False, False, False],
}
OTHER = {"id": [*range(8)], "size": [2, 2, 2, 2, 2, 3, 2, 2], "weight": [0.5, 1, 2] * 2 + [3, 3], "tags": [["x"]] * 8}


@pytest.mark.parametrize("sink", ["hf", "parquet"])
@pytest.mark.parametrize("kind", ["object", "hf", "parquet"])
@pytest.mark.parametrize("label", ["label", "label_name"])
def test_columns_that_say_the_label_change_with_it(tmp_path: Path, kind: str, sink, label: str) -> None:
    rows = pa.table({"image": [image_bytes(row) for row in range(8)], **TOLD, **OTHER})
    src = {"object": datasets.Dataset(rows), "hf": tmp_path / "src", "parquet": tmp_path / "src.parquet"}[kind]
    datasets.Dataset(rows).save_to_disk(str(tmp_path / "src"))
    pq.write_table(rows, tmp_path / "src.parquet", row_group_size=3)
    source = open_table(src, label=label)
    answers = [Decision("kept", sample.label) for sample in source.samples]
    classes = [source.samples[row].label for row in range(3)]
    answers[0], answers[5] = Decision("relabelled", classes[2], PNG), Decision("relabelled", classes[1])
    emit(source, sink, tmp_path / "dst", lambda _, index: answers[index])
    written = open_table(tmp_path / "dst", label=label)
    for index, same in enumerate([2, 1, 2, 3, 4, 1, 6, 7]):
        row = written.rows.row(index).to_pylist()[0]
        assert {name: row[name] for name in TOLD} == {name: rows[name][same].as_py() for name in TOLD}
        assert {name: row[name] for name in OTHER} == {name: rows[name][index].as_py() for name in OTHER}
    restore(tmp_path / "dst", tmp_path / "back")
    back = open_table(tmp_path / "back", label=label)
    assert [back.rows.row(index).to_pylist()[0] for index in range(8)] == rows.to_pylist()


def test_a_column_that_is_told_by_chance_stays(tmp_path: Path) -> None:
    """With one row a label everything is told by it, and of a label without rows nothing is known."""
    labels = datasets.ClassLabel(names=["cat", "dog", "fox", "owl"])
    features = datasets.Features({"image": datasets.Image(), "label": labels, "id": datasets.Value("string")})
    for given, new, id in (([0, 1, 2], 2, "0"), ([0, 1, 0, 1], 3, "0"), ([0, 1, 0, 1], 1, "1")):
        count = len(given)
        images = [{"bytes": image_bytes(row), "path": None} for row in range(count)]
        columns = {"image": images, "label": given, "id": [str(label) for label in given]}
        source = open_source(datasets.Dataset.from_dict(columns, features=features))
        answers = [Decision("relabelled", new), *(keep(source, row) for row in range(1, count))]
        dst = tmp_path / f"{count}-{new}"
        emit(source, "parquet", dst, lambda _, index, answers=answers: answers[index])
        written = pq.read_table(next(dst.glob("*.parquet")))
        assert written["label"].to_pylist() == [new, *given[1:]]
        assert written["id"].to_pylist() == [id, *columns["id"][1:]]


def test_text_that_is_no_utf8_is_not_read_for_what_it_says(tmp_path: Path) -> None:
    bad = pa.array([b"caf\xe9"] * 4).view(pa.string())
    pq.write_table(pa.table({"image": [PNG] * 4, "label": [0, 0, 1, 1], "note": bad}), tmp_path / "src.parquet")
    source = open_source(tmp_path / "src.parquet")
    emit(source, "parquet", tmp_path / "dst", lambda _, index: Decision("relabelled", 1))
    written = pq.read_table(tmp_path / "dst/src.parquet")
    assert written["label"].to_pylist() == [1] * 4
    assert written["note"].combine_chunks().view(pa.binary()).to_pylist() == [b"caf\xe9"] * 4


@pytest.mark.parametrize("kind", ["object", "single", "splits"])
def test_licence_of_a_dataset_stays(tmp_path: Path, kind: str) -> None:
    data = table()
    about = {"description": "Signs.", "citation": "@misc{signs}", "homepage": "https://signs.org", "license": "CC-BY"}
    vars(data.info).update(about, dataset_size=12345)
    src = datasets.DatasetDict({"train": data, "test": table()}) if kind == "splits" else data
    src.save_to_disk(str(tmp_path / "src"))
    emit(open_source(data if kind == "object" else tmp_path / "src"), "hf", tmp_path / "dst", change_some(1))
    written = datasets.load_from_disk(str(tmp_path / "dst"))
    info = (written["train"] if isinstance(written, datasets.DatasetDict) else written).info
    assert {name: getattr(info, name) for name in about} == about
    assert info.features == data.features
    assert info.dataset_size is None


def test_folders_of_the_output_are_writable_whatever_those_of_the_input_are(tmp_path: Path) -> None:
    datasets.DatasetDict({"train": table(), "test": table(start=9)}).save_to_disk(str(tmp_path / "src"))
    (tmp_path / "src/test/more").mkdir()
    for path in (*(tmp_path / "src").rglob("*"), tmp_path / "src"):
        path.chmod(path.stat().st_mode & ~0o222)
    emit(open_source(tmp_path / "src"), "hf", tmp_path / "dst")
    (tmp_path / "dst/test").chmod(0o555)
    restore(tmp_path / "dst", tmp_path / "back")
    assert read_tree(tmp_path / "back/test") == read_tree(tmp_path / "src/test")
    folders = [path for place in ("dst", "back") for path in (tmp_path / place).rglob("*") if path.is_dir()]
    assert tmp_path / "dst/test/more" in folders
    assert {path.stat().st_mode & 0o700 for path in folders if path != tmp_path / "dst/test"} == {0o700}


def test_damaged_facts_of_a_dataset(tmp_path: Path) -> None:
    table().save_to_disk(str(tmp_path / "src"))
    file = tmp_path / "src/dataset_info.json"
    file.write_text('{"license": 3}')
    assert open_table(tmp_path / "src").rows.about == {}
    file.write_text("{")
    with pytest.raises(ElixirError, match=r"dataset_info\.json cannot be read: .*; save the dataset again"):
        open_source(tmp_path / "src")
    file.unlink()
    assert open_table(tmp_path / "src").rows.about == {}


def odd_pictures() -> dict[str, bytes]:
    """Pictures that each have something besides 8-bit colour."""
    rgb = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    alpha = Image.fromarray(np.dstack([rgb, rgb[..., 0]]))
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    saved = {
        "grey": (Image.fromarray(rgb[..., 0]), {}),
        "deep": (Image.fromarray(rgb[..., 0].astype(np.uint16) * 257), {}),
        "alpha": (alpha, {}),
        "grey_alpha": (alpha.convert("LA"), {}),
        "turned": (Image.fromarray(rgb), {"exif": turned}),
        "profile": (Image.fromarray(rgb), {"icc_profile": b"\0" * 16 + b"RGB " + b"\0" * 180}),
    }
    pictures = {}
    for name, (image, options) in saved.items():
        buffer = BytesIO()
        image.save(buffer, "PNG", **options)
        pictures[f"cat/{name}.png"] = buffer.getvalue()
    return pictures


@pytest.mark.parametrize("kind", ["folder", "hf", "parquet"])
def test_changed_samples_keep_what_is_not_colour(tmp_path: Path, kind) -> None:
    """As they are written, and as they are read back from the output."""
    source = open_source("folder:" + str(make_tree(tmp_path / "src", odd_pictures())))

    def decide(source: Source, index: int) -> Decision:
        picture = decode(source.read(index))
        return Decision("purified", 0, encode(picture, 255 - picture.rgb))

    emit(source, kind, tmp_path / "dst", decide)
    dst = tmp_path / "dst"
    written = open_source(f"folder:{dst}") if kind == "folder" else open_source(dst)
    assert len(written.samples) == len(source.samples) == 6
    odd = set()
    for index, sample in enumerate(source.samples):
        before, after = decode(source.read(index)), decode(written.read(index))
        assert np.array_equal(after.rgb, 255 - before.rgb), sample.id
        facts = [(p.grey, p.deep, p.orientation, p.profile, p.alpha is None) for p in (before, after)]
        assert facts[0] == facts[1], sample.id
        assert np.array_equal(before.alpha, after.alpha), sample.id  # type: ignore[arg-type]
        odd.add(facts[0])
    assert len(odd) == 6


def test_a_dataset_of_several_files_is_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elixir.data.tables.hf.SHARD_BYTES", 500)
    monkeypatch.setattr("elixir.data.tables.table.BATCH_ROWS", 2)
    for name in ("one", "two"):
        emit(open_source(table(9)), "hf", tmp_path / name)
    assert len(list((tmp_path / "one").glob("data-*-of-00004.arrow"))) == 4
    assert read_tree(tmp_path / "one", skip="") == read_tree(tmp_path / "two", skip="")
    assert datasets.Dataset.load_from_disk(str(tmp_path / "one"))["track"][:] == [row * 11 for row in range(8)]
