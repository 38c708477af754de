"""Table sources: columns found or asked for, labels of every type, ids, names, and rows read in any order."""

import json
import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torchvision.datasets import ImageFolder

from elixir.data.files.folder import FolderSource
from elixir.data.open import open_source
from elixir.data.overlap import refuse_overlap
from elixir.data.restore import restore
from elixir.data.sink import Decision
from elixir.data.source import Source
from elixir.data.tables.hf import DatasetRows, external_file
from elixir.data.tables.parquet import DECODED, ParquetRows
from elixir.data.tables.table import TableSource
from elixir.errors import ElixirError, UnreadableSample

from .conftest import change_some, emit, image_bytes, make_tree, open_table, table

PNG = image_bytes(0)


def parquet(path: Path, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture(params=["object", "saved", "parquet"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> TableSource:
    if request.param == "object":
        return open_table(table())
    if request.param == "saved":
        table().save_to_disk(str(tmp_path / "src"))
        return open_table(str(tmp_path / "src"))
    table().to_parquet(str(tmp_path / "train.parquet"), batch_size=3)
    return open_table(tmp_path / "train.parquet")


def test_samples_of_a_table(source: TableSource) -> None:
    assert source.kind == ("parquet" if source.location.endswith("parquet") else "hf")
    assert source.classes == ["cat", "dog/2", ".."]
    assert [sample.id for sample in source.samples] == [f"train/{row:08d}" for row in range(7)]
    assert [sample.label for sample in source.samples] == [0, 1, 2, 0, 1, 2, 0]
    assert [sample.name for sample in source.samples] == [
        *("0.png", "1.png", "2.png", "3.png", "0.png", "1.png", "00000006")
    ]
    for index in (3, 0, 5, 5, 1):
        assert source.read(index) == image_bytes(index)
    with pytest.raises(UnreadableSample, match="no image"):
        source.read(6)
    assert source.samples[-1] == source.samples[6] == source.samples[5:][1]
    assert source.fingerprint() == source.fingerprint()


def test_names_that_a_class_has_twice_are_not_used(tmp_path: Path) -> None:
    images = [
        {"bytes": PNG, "path": path} for path in ("x/a.png", "y/A.png", "z/a.png", "zip://in/b.png::http://c/d.zip")
    ]
    source = open_source(parquet(tmp_path / "t.parquet", image=images, label=["p", "p", "q", "q"]))
    assert [sample.name for sample in source.samples] == ["00000000", "00000001", "a.png", "b.png"]


@pytest.mark.parametrize(
    ("labels", "classes", "indices"),
    [
        (["b", None, "a", "b"], ["a", "b"], [1, -1, 0, 1]),
        ([30, 4, 30, None], ["4", "30"], [1, 0, 1, -1]),
        ([True, False, True, True], ["False", "True"], [1, 0, 1, 1]),
        (pa.array(["b", None, "a", "b"]).dictionary_encode(), ["a", "b"], [1, -1, 0, 1]),
        (pa.array(["b", None, "a", "b"], pa.string_view()), ["a", "b"], [1, -1, 0, 1]),
        (pa.array(["b", None, "a", "b"], pa.large_string()), ["a", "b"], [1, -1, 0, 1]),
        (["b", "", "a", " \t"], ["a", "b"], [1, -1, 0, -1]),
        ([3, -1, 7, -2], ["3", "7"], [0, -1, 1, -1]),
        ([2.0, None, 10.0, float("nan")], ["2", "10"], [0, -1, 1, -1]),
        (pa.array([1.0, 0.0, -1.0, -0.0], pa.float16()), ["0", "1"], [1, 0, -1, 0]),
        (pa.array([Decimal("2.0"), None, Decimal("10.0"), Decimal("-1.0")]), ["2", "10"], [0, -1, 1, -1]),
    ],
)
def test_label_types(tmp_path: Path, labels, classes, indices) -> None:
    source = open_source(parquet(tmp_path / "t.parquet", image=[PNG] * 4, label=labels))
    assert source.classes == classes
    assert [sample.label for sample in source.samples] == indices
    assert not any(sample.problem for sample in source.samples)
    none = indices.count(-1)
    verb = "has no label and is" if none == 1 else "have no label and are"
    assert source.notes == ([f"{none} of 4 samples {verb} set aside"] if none else [])


@pytest.mark.parametrize("value", [0.25, float("inf"), Decimal("0.5")])
def test_numbers_that_are_no_classes(tmp_path: Path, value) -> None:
    with pytest.raises(ElixirError, match=rf"column 'label' of .*t\.parquet holds {value}, which is no class; make a"):
        open_source(parquet(tmp_path / "t.parquet", image=[PNG] * 2, label=[type(value)(1), value]))


@pytest.mark.parametrize("labels", [[-1, -1], [None, float("nan")], ["", None], [-1, -3]])
def test_no_row_has_a_label(tmp_path: Path, labels) -> None:
    with pytest.raises(ElixirError, match="holds no labels; name another with --label"):
        open_source(parquet(tmp_path / "t.parquet", image=[PNG] * 2, label=labels))


def test_two_classes_of_which_one_is_negative(tmp_path: Path) -> None:
    with pytest.raises(ElixirError, match=r"holds one class, 1, and negative numbers, .* number the classes from 0"):
        open_source(parquet(tmp_path / "t.parquet", image=[PNG] * 2, label=[-1, 1]))


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        (pa.array([0, 1, 255], pa.uint8()), "column 'label' holds 255, which is read as a class; if it stands for no"),
        (["a", "nan", "b"], "column 'label' holds 'nan', which is read as a class; if it stands for no label, make"),
        (["0", "-1", "1"], "column 'label' holds '-1', which is read as a class"),
        (["Cat", "dog", "cat "], "column 'label' holds 'Cat' and 'cat ', which are read as two classes"),
    ],
)
def test_classes_that_may_be_none(tmp_path: Path, labels, note: str) -> None:
    source = open_source(parquet(tmp_path / "t.parquet", image=[PNG] * 3, label=labels))
    assert len(source.classes) == 3
    (found,) = source.notes
    assert found.startswith(note)
    every = pa.array(range(256), pa.uint8())
    assert not open_source(
        parquet(tmp_path / "256.parquet", image=[PNG] * 512, label=pa.concat_arrays([every] * 2))
    ).notes


def test_a_column_of_ids_or_captions_holds_no_classes(tmp_path: Path) -> None:
    captions = [f"photo {row}" for row in range(20)]
    with pytest.raises(
        ElixirError, match="holds 20 values in 20 rows, such as 'photo 0': these are no classes but ids"
    ):
        open_source(parquet(tmp_path / "t.parquet", image=[PNG] * 20, label=captions))
    both = parquet(tmp_path / "t.parquet", image=[PNG] * 20, label=captions, target=[0, 1] * 10)
    source = open_table(both)
    assert (source.label, source.classes) == ("target", ["0", "1"])
    assert source.notes == ["column 'target' is taken for the labels, as 'label' holds no classes"]
    half = [f"kind {row // 2}" for row in range(20)]
    assert (
        open_table(parquet(tmp_path / "t.parquet", image=[PNG] * 20, label=half, target=[0, 1] * 10)).label == "label"
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"labels": [[0, 1], [1]]}, "column 'labels' holds lists, .*: make a column of one integer or string a row"),
        ({"label": pa.array([[0, 1], [1, 0]], pa.list_(pa.int8(), 2))}, "the place of the 1 of a one-hot label"),
        (
            {"annotation": [{"id": 1, "label": "a"}] * 2},
            r"flatten it \(Dataset.flatten\) and give --label annotation.id",
        ),
        ({"label": pa.nulls(2)}, "column 'label' is empty: name another with --label"),
        ({"label": pa.array([0, 1], pa.date32())}, "column 'label' holds date32.*: write the labels as integers or"),
        ({"cat": [0, 1], "dog": [1, 0]}, "one label an image is read, an integer or a string"),
    ],
)
def test_columns_that_hold_no_labels(tmp_path: Path, columns, message: str) -> None:
    with pytest.raises(ElixirError, match=message):
        open_source(parquet(tmp_path / "t.parquet", image=[PNG] * 2, **columns))
    label = next(iter(columns))
    if len(columns) == 1:
        with pytest.raises(ElixirError, match=message):
            open_source(tmp_path / "t.parquet", label=label)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            ["/data/a.png", "/data/b.png"],
            r"holds text: of paths Dataset.cast_column\('image', Image\(\)\) reads the files",
        ),
        ([[{"bytes": PNG}]] * 2, "column 'image' holds lists of images: store one image a row"),
        ([[0, 255]] * 2, "column 'image' holds lists of numbers or text: store one image a row"),
        ([1, 2], "column 'image' holds int64: store the bytes of an image file in each row"),
    ],
)
def test_columns_that_hold_no_images(tmp_path: Path, image, message: str) -> None:
    for named in (None, "image"):
        with pytest.raises(ElixirError, match=message):
            open_source(parquet(tmp_path / "t.parquet", image=image, label=[0, 1]), image=named)


def test_views_are_read(tmp_path: Path) -> None:
    images = pa.array([PNG, image_bytes(1)], pa.binary_view())
    path = parquet(tmp_path / "t.parquet", image=images, label=pa.array(["a", "b"], pa.string_view()))
    source = open_table(path)
    assert (source.read(1), source.classes, source.notes) == (image_bytes(1), ["a", "b"], [])
    check_round_trip(path, tmp_path)


def test_images_that_are_only_named_in_parquet(tmp_path: Path) -> None:
    named = pa.array([{"path": "/a.png"}] * 2, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    source = open_source(parquet(tmp_path / "t.parquet", image=named, label=[0, 1]))
    with pytest.raises(
        UnreadableSample, match="no image is stored but the name of a file: save it again with datasets"
    ):
        source.read(0)


def test_other_columns_of_images_are_not_looked_at() -> None:
    features = {"image": datasets.Image(), "mask": datasets.Image(), "views": [datasets.Image()]}
    labels = {"label": datasets.ClassLabel(names=["a", "b"]), "box": datasets.List(datasets.Value("float32"))}
    held = {"bytes": PNG, "path": None}
    rows = [{"image": held, "mask": held, "views": [held], "label": row % 2, "box": [0.5]} for row in range(4)]
    source = open_source(datasets.Dataset.from_list(rows, datasets.Features({**features, **labels})))
    assert source.notes == [
        f"column {name!r} holds encoded data too, which is not looked at" for name in ("mask", "views")
    ]


def test_missing_class_label() -> None:
    rows = {"image": [{"bytes": PNG, "path": None}] * 3, "label": [0, -1, None]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    source = open_source(datasets.Dataset.from_dict(rows, features=features))
    assert source.classes == ["a", "b"]
    assert [sample.label for sample in source.samples] == [0, -1, -1]
    assert source.notes == ["2 of 3 samples have no label and are set aside"]


def test_labels_beyond_the_class_names(tmp_path: Path) -> None:
    described = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}}}
    rows = pa.table({"image": [PNG] * 3, "label": [0, 1, 7]}).replace_schema_metadata(
        {"huggingface": json.dumps(described)}
    )
    pq.write_table(rows, tmp_path / "t.parquet")
    source = open_source(tmp_path / "t.parquet")
    assert [sample.label for sample in source.samples] == [0, 1, -1]
    assert source.notes[1] == "column 'label' has 2 class names, and 1 label beyond them: no label"


def test_columns_that_are_asked_for(tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet", left=[PNG], right=[image_bytes(1)], kind=["a"], label=[3], weight=[0.5])
    with pytest.raises(ElixirError, match=r"--image; its columns: left \(binary\), right \(binary\), kind"):
        open_source(path)
    source = open_source(path, image="right", label="kind")
    assert (source.read(0), source.classes) == (image_bytes(1), ["a"])
    with pytest.raises(
        ElixirError, match=r"column 'weight' of .* holds 0\.5, which is no class; make a column of whole"
    ):
        open_source(path, image="right", label="weight")
    with pytest.raises(ElixirError, match="no column 'left' of integers or strings; column 'left' holds binary: write"):
        open_source(path, image="right", label="left")
    with pytest.raises(ElixirError, match="no column 'sign' of integers or strings; its columns"):
        open_source(path, image="right", label="sign")
    with pytest.raises(ElixirError, match="no column 'kind' with encoded images"):
        open_source(path, image="kind")


def test_label_column_that_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(ElixirError, match="name it with --label; its columns"):
        open_source(parquet(tmp_path / "t.parquet", image=[PNG], sign=[1]))


@pytest.mark.parametrize("saved", [False, True])
def test_columns_with_dots_in_their_names(tmp_path: Path, saved: bool) -> None:
    images = [{"bytes": image_bytes(row), "path": f"{row}.png"} for row in range(2)]
    columns = {"my.image": images, "meta": [{"label": 8}, {"label": 9}], "meta.label": ["b", "a"]}
    path = parquet(tmp_path / "t.parquet", **columns)
    if saved:
        datasets.Dataset(pa.table(columns)).save_to_disk(str(tmp_path / "saved"))
        path = tmp_path / "saved"
    source = open_source(path, image="my.image", label="meta.label")
    assert source.classes == ["a", "b"]
    assert [(sample.label, sample.name) for sample in source.samples] == [(1, "0.png"), (0, "1.png")]
    assert source.read(1) == image_bytes(1)


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    columns = [pa.array([PNG]), pa.array([1]), pa.array([2])]
    pq.write_table(pa.Table.from_arrays(columns, names=["image", "label", "label"]), tmp_path / "t.parquet")
    with pytest.raises(ElixirError, match="two columns of one name"):
        open_source(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    "described", ["no json", "[]", '{"info": 3}', '{"info": {"features": 3}}', '{"info": {"features": {"label": 3}}}']
)
def test_broken_description_of_columns(tmp_path: Path, described: str) -> None:
    rows = pa.table({"image": [{"bytes": PNG, "path": 3}] * 2, "label": [1, 0]})
    pq.write_table(rows.replace_schema_metadata({"huggingface": described}), tmp_path / "t.parquet")
    source = open_source(tmp_path / "t.parquet")
    assert (source.read(1), source.classes) == (PNG, ["0", "1"])
    assert source.samples[1].name == "00000001"
    assert source.notes == [
        "the description of the columns that is stored with the table is not understood, and ignored"
    ]


@pytest.mark.parametrize(
    "metadata", [{}, {"huggingface": '{"info": {}}'}, {"huggingface": '{"info": {"features": null}}'}]
)
def test_tables_without_a_description(tmp_path: Path, metadata) -> None:
    rows = pa.table({"image": [PNG] * 2, "label": [1, 0]}).replace_schema_metadata(metadata)
    pq.write_table(rows, tmp_path / "t.parquet")
    assert open_source(tmp_path / "t.parquet").notes == []


def test_class_names_of_a_column_of_another_type(tmp_path: Path) -> None:
    rows = table(6).data.table
    label = rows.schema.get_field_index("label")
    narrow = rows.set_column(label, "label", rows.column(label).cast(pa.int32()))
    pq.write_table(narrow.replace_schema_metadata(rows.schema.metadata), tmp_path / "t.parquet")
    source = open_source(tmp_path / "t.parquet")
    assert source.classes == ["0", "1", "2"]
    assert source.notes == ["column 'label' has class names, which do not fit its type int32 and are ignored"]


def test_class_names_beside_a_column_that_datasets_has_no_type_for(tmp_path: Path) -> None:
    rows = table(6).data.table
    odd = pa.array([[("a", 1)]] * 6, pa.map_(pa.string(), pa.int8()))
    pq.write_table(rows.append_column("odd", odd), tmp_path / "t.parquet")
    assert open_source(tmp_path / "t.parquet").classes == ["cat", "dog/2", ".."]


HOLOGRAM = {"dtype": "int32", "_type": "Hologram"}
NEWER = [
    ("label", {"names": ["a", "b"], "_type": "LabelOfTomorrow"}, "'LabelOfTomorrow'"),
    ("track", HOLOGRAM, "'Hologram'"),
    ("track", [HOLOGRAM], "'Hologram'"),
    ("track", {"feature": HOLOGRAM, "_type": "List"}, "'Hologram'"),
    ("track", {"inner": HOLOGRAM}, "'Hologram'"),
    ("track", {"dtype": "float8", "_type": "Value"}, "float8"),
]


@pytest.mark.parametrize(("column", "told", "found"), NEWER)
@pytest.mark.parametrize("place", ["parquet", "arrow", "dataset_info.json"])
def test_features_of_a_newer_version_of_datasets(tmp_path: Path, place: str, column: str, told, found: str) -> None:
    """Class names would be lost, and the output would have columns of bare types."""
    src = tmp_path / "src"
    table().save_to_disk(str(src))
    (arrow,) = src.glob("*.arrow")
    rows = pa.ipc.open_stream(arrow.read_bytes()).read_all()
    described = json.loads(rows.schema.metadata[b"huggingface"])
    described["info"]["features"][column] = told
    newer = rows.replace_schema_metadata({"huggingface": json.dumps(described)})
    if place == "parquet":
        src = tmp_path / "parquet"
        src.mkdir()
        pq.write_table(newer, src / "t.parquet")
    elif place == "arrow":
        with pa.OSFile(str(arrow), "wb") as file, pa.ipc.new_stream(file, newer.schema) as stream:
            stream.write_table(newer)
    else:
        rewrite(src / "dataset_info.json", features=described["info"]["features"])
    remedy = (
        rf"which datasets {re.escape(datasets.__version__)}, .* \(pip install -U datasets\), or save the dataset wi"
    )
    with pytest.raises(ElixirError, match=rf"column '{column}' of .*{place}.* {found}.*{remedy}"):
        open_source(src)


def test_a_dataset_saved_by_datasets_2(tmp_path: Path) -> None:
    """Which has Sequence where there is List now."""
    src, dst, back = tmp_path / "src", tmp_path / "dst", tmp_path / "back"
    boxes = datasets.Features({**table().features, "box": datasets.List(datasets.Value("float32"))})
    undecoded: Any = table().cast_column("image", datasets.Image(decode=False))
    rows = [{**row, "box": [0.5, 1.0]} for row in undecoded]
    datasets.Dataset.from_list(rows, boxes).save_to_disk(str(src))
    told = json.loads((src / "dataset_info.json").read_text())["features"]
    told["box"] = {
        "feature": {"dtype": "float32", "id": None, "_type": "Value"},
        "length": -1,
        "id": None,
        "_type": "Sequence",
    }
    rewrite(src / "dataset_info.json", features=told)
    (arrow,) = src.glob("*.arrow")
    stored = pa.ipc.open_stream(arrow.read_bytes()).read_all()
    stored = stored.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": told}})})
    with pa.OSFile(str(arrow), "wb") as file, pa.ipc.new_stream(file, stored.schema) as stream:
        stream.write_table(stored)
    source = open_source(src)
    assert (source.classes, source.notes) == (["cat", "dog/2", ".."], [])
    emit(source, "hf", dst, change_some(1))
    restore(dst, back)
    for folder in (dst, back):
        loaded: Any = datasets.load_from_disk(str(folder))
        assert loaded.features == boxes
    assert loaded.data.table.equals(stored)


def test_features_are_those_of_the_info_of_a_saved_dataset(tmp_path: Path) -> None:
    """Which `load_from_disk` goes by."""
    table().save_to_disk(str(tmp_path))
    (arrow,) = tmp_path.glob("*.arrow")
    rows = pa.ipc.open_stream(arrow.read_bytes()).read_all().replace_schema_metadata()
    with pa.OSFile(str(arrow), "wb") as file, pa.ipc.new_stream(file, rows.schema) as stream:
        stream.write_table(rows)
    loaded: Any = datasets.load_from_disk(str(tmp_path))
    assert loaded.features == table().features
    assert open_source(tmp_path).classes == ["cat", "dog/2", ".."]


def test_names_of_labels_that_are_no_strings(tmp_path: Path) -> None:
    described = {"info": {"features": {"label": {"_type": "ClassLabel", "names": [7, None]}}}}
    rows = pa.table({"image": [PNG] * 2, "label": [1, 0]})
    pq.write_table(rows.replace_schema_metadata({"huggingface": json.dumps(described)}), tmp_path / "t.parquet")
    assert open_source(tmp_path / "t.parquet").classes == ["7", "None"]


def test_names_of_labels_that_are_no_text(tmp_path: Path) -> None:
    described = {"info": {"features": {"kind": {"_type": "ClassLabel", "names": ["cat", "\ud800"]}}}}
    rows = pa.table({"image": [PNG] * 2, "kind": [1, 0]})
    pq.write_table(rows.replace_schema_metadata({"huggingface": json.dumps(described)}), tmp_path / "t.parquet")
    with pytest.raises(ElixirError, match=r"column 'kind' of .*t\.parquet has the class name '\\ud800', .*; rename it"):
        open_source(tmp_path / "t.parquet")


def test_fine_label_of_two_class_labels() -> None:
    rows = {"img": [{"bytes": PNG, "path": None}], "coarse_label": [0], "fine_label": [1]}
    labels = datasets.ClassLabel(names=["a", "b"])
    features = {"img": datasets.Image(), "coarse_label": labels, "fine_label": labels}
    assert open_table(datasets.Dataset.from_dict(rows, features=datasets.Features(features))).label == "fine_label"


def test_several_files_and_splits(tmp_path: Path) -> None:
    for name in ("train-0", "train-1", "test-0"):
        parquet(tmp_path / f"src/{name}.parquet", image=[PNG] * 2, label=["a", "b"])
    source = open_source(tmp_path / "src")
    ids = ["train-0/00000000", "train-0/00000001", "train-1/00000000", "train-1/00000001"]
    assert [sample.id for sample in source.samples] == ids
    assert len({sample.name for sample in source.samples}) == 4
    assert open_source(tmp_path / "src", split="test").samples[0].id == "test-0/00000000"
    assert len(open_source(str(tmp_path / "src/*-0.parquet")).samples) == 2
    with pytest.raises(ElixirError, match="no split 'val' but test, train"):
        open_source(tmp_path / "src", split="val")


def test_splits_in_folders_of_their_own(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        parquet(tmp_path / "src" / split / "0000.parquet", image=[PNG] * count, label=list(range(count)))
    pattern = str(tmp_path / "src/**/*.parquet")
    assert [sample.id for sample in open_source(pattern).samples] == [f"0000/{row:08d}" for row in range(3)]
    assert len(open_source(pattern, split="test").samples) == 2
    parquet(tmp_path / "cams/site-dev/0.parquet", image=[PNG], label=[0])
    parquet(tmp_path / "cams/front/0.parquet", image=[PNG] * 2, label=[0, 1])
    assert len(open_source(str(tmp_path / "cams/**/*.parquet")).samples) == 3  # "site-dev" is not a split


def test_a_small_file_of_large_values_is_decoded_a_little_at_a_time(tmp_path: Path) -> None:
    file = parquet(tmp_path / "bomb.parquet", image=[bytes(4 << 20)] * 80, label=[0, 1] * 40)
    assert file.stat().st_size < 1 << 20
    source = open_table(file)
    most = 0
    for index in range(80):
        assert len(source.read(index)) == 4 << 20
        most = max(most, source.rows._block.nbytes)  # type: ignore[attr-defined]
    assert 4 << 20 < most <= DECODED


def test_files_of_the_same_stem(tmp_path: Path) -> None:
    for folder in "ab":
        parquet(tmp_path / f"{folder}/part.parquet", image=[PNG], label=[1])
    source = open_source(str(tmp_path / "*/part.parquet"))
    assert [sample.id for sample in source.samples] == ["a/part/00000000", "b/part/00000000"]


def test_files_of_different_datasets(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", image=[PNG], label=[1])
    parquet(tmp_path / "b.parquet", image=[PNG], label=["x"])
    what = r"b\.parquet has other columns than .*a\.parquet: column 'label' is string against int64; give files of one"
    with pytest.raises(ElixirError, match=what):
        open_source(tmp_path)
    parquet(tmp_path / "a.parquet", image=[PNG], label=[1], site=["x"])
    parquet(tmp_path / "b.parquet", image=[PNG], label=[1], place=["x"])
    with pytest.raises(ElixirError, match="column 'place' is only in it, it lacks column 'site'; give files of one"):
        open_source(tmp_path)
    parquet(tmp_path / "a.parquet", image=[PNG], label=[1], note=["x"])
    parquet(tmp_path / "b.parquet", image=[PNG], label=[1], note=[b"x"])
    with pytest.raises(ElixirError, match="column 'note' is binary against string"):
        open_source(tmp_path)


IMAGES = [{"bytes": image_bytes(row), "path": f"{row}.png"} for row in range(6)]
WIDE = pa.struct([("path", pa.large_string()), ("bytes", pa.large_binary())])
DRIFTED = {
    "order": ({"image": IMAGES, "label": [0, 1] * 3}, {"label": [1, 0] * 3, "image": IMAGES}),
    "width": ({"image": IMAGES, "label": pa.array([0, 1] * 3, pa.int8())}, {"image": IMAGES, "label": [0, 300] * 3}),
    "narrow": ({"image": IMAGES, "label": [0, 300] * 3}, {"image": IMAGES, "label": pa.array([0, 1] * 3, pa.uint8())}),
    "null": ({"image": IMAGES, "label": [0, 1] * 3}, {"image": IMAGES, "label": pa.nulls(6)}),
    "null first": ({"image": IMAGES, "label": pa.nulls(6)}, {"image": IMAGES, "label": ["a", "b"] * 3}),
    "NaN": ({"image": IMAGES, "label": [0, 1] * 3}, {"image": IMAGES, "label": [1.0, None, 0.0] * 2}),
    "text": (
        {"image": IMAGES, "label": ["a", "b"] * 3},
        {"image": IMAGES, "label": pa.array(["b", "a"] * 3, pa.large_string())},
    ),
    "categories": (
        {"image": IMAGES, "label": pa.array(["a", "b"] * 3).dictionary_encode()},
        {"image": IMAGES, "label": ["b", "c"] * 3},
    ),
    "image": ({"image": IMAGES, "label": [0, 1] * 3}, {"image": pa.array(IMAGES, WIDE), "label": [1, 0] * 3}),
    "no paths": (
        {"image": IMAGES, "label": [0, 1] * 3},
        {"image": [{"bytes": image["bytes"], "path": None} for image in IMAGES], "label": [1, 0] * 3},
    ),
    "no images": ({"image": IMAGES, "label": [0, 1] * 3}, {"image": pa.nulls(6), "label": [1, 0] * 3}),
}


def check_round_trip(src: Path, tmp_path: Path) -> None:
    """A table as parquet, folder and saved dataset, with changes, and back again."""
    given = [row for file in sorted(src.parent.glob(src.name)) for row in pq.read_table(file).to_pylist()]
    for kind in ("parquet", "hf", "folder"):
        dst, back = tmp_path / kind, tmp_path / f"{kind}-back"
        emit(open_source(src), kind, dst, change_some(3))
        restore(dst, back)
        restored = [row for file in sorted(back.rglob("*.parquet")) for row in pq.read_table(file).to_pylist()]
        assert [{**row, "image": None} for row in restored] == [{**row, "image": None} for row in given]
        for row, was in zip(restored, given, strict=True):
            image, old = row["image"], was["image"]
            assert image == old or (image["bytes"], image["path"]) == (old["bytes"], old["path"])


@pytest.mark.parametrize("drift", DRIFTED)
@pytest.mark.parametrize("turned", [False, True])
def test_files_of_one_dataset_that_drifted(tmp_path: Path, drift: str, turned: bool) -> None:
    shards = DRIFTED[drift][:: -1 if turned else 1]
    for number, columns in enumerate(shards):
        parquet(tmp_path / f"src/train-{number}.parquet", **columns)
    whole = [row for columns in shards for row in pa.table(columns).to_pylist()]
    source = open_table(tmp_path / "src/*.parquet")
    numbers = all(isinstance(row["label"], int | float | None) for row in whole)
    names = [None if row["label"] is None else str(int(row["label"]) if numbers else row["label"]) for row in whole]
    assert source.classes == sorted({name for name in names if name}, key=lambda name: (len(name), name))
    assert [source.classes[sample.label] if sample.label >= 0 else None for sample in source.samples] == names
    for index, row in enumerate(whole):
        if row["image"]:
            assert source.read(index) == row["image"]["bytes"]
    check_round_trip(tmp_path / "src/*.parquet", tmp_path)


def test_files_of_a_saved_dataset_that_drifted(tmp_path: Path) -> None:
    table().save_to_disk(str(tmp_path), num_shards=2)
    file = sorted(tmp_path.glob("*.arrow"))[1]
    rows = pa.ipc.open_stream(file.read_bytes()).read_all()
    track = rows.schema.get_field_index("track")
    wide = rows.set_column(track, "track", rows.column(track).cast(pa.int64())).select(["track", "label", "image"])
    with pa.OSFile(str(file), "wb") as opened, pa.ipc.new_stream(opened, wide.schema) as stream:
        stream.write_table(wide)
    source = open_table(tmp_path)
    assert source.classes == ["cat", "dog/2", ".."]
    assert source.rows.schema.names == ["image", "label", "track"]
    assert [source.rows.row(row).column("track")[0].as_py() for row in range(7)] == [row * 11 for row in range(7)]
    assert [source.read(row) for row in range(6)] == [image_bytes(row) for row in range(6)]


def test_class_names_are_those_of_the_first_file_that_has_labels(tmp_path: Path) -> None:
    nameless = datasets.Features({"image": datasets.Image(), "label": datasets.Value("null")})
    rows = {"image": IMAGES, "label": [None] * 6}
    datasets.Dataset.from_dict(rows, nameless).to_parquet(str(tmp_path / "train-0.parquet"))
    named = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": IMAGES, "label": [0, 1] * 3}
    datasets.Dataset.from_dict(rows, named).to_parquet(str(tmp_path / "train-1.parquet"))
    source = open_source(tmp_path)
    assert source.classes == ["cat", "dog"]
    emit(source, "parquet", tmp_path / "dst")
    loaded = datasets.load_dataset("parquet", data_dir=str(tmp_path / "dst"), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].features == named


def test_values_that_do_not_fit_are_found_at_the_start(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", image=[PNG] * 2, label=[0, 1], id=[0.5, None])
    parquet(tmp_path / "b.parquet", image=[PNG] * 2, label=[0, 1], id=[2**60 + 1, 3])
    what = (
        r"b\.parquet has values in its column 'id' that do not fit double, its type in all files: .*; store it in one"
    )
    with pytest.raises(ElixirError, match=what):
        open_source(tmp_path)


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.float16(), pa.decimal128(3, 1)])
def test_labels_of_another_type_are_written_in_it(tmp_path: Path, kind: pa.DataType) -> None:
    labels = pa.array([0, 1, 2, 1, 0, 2, None], pa.float64()).cast(kind)
    path = parquet(tmp_path / "t.parquet", image=[*IMAGES, IMAGES[0]], label=labels, copy=labels)

    def next_class(source: Source, index: int) -> Decision:
        label = source.samples[index].label
        return Decision("quarantined", -1) if label < 0 else Decision("relabelled", (label + 1) % 3)

    emit(open_source(path), "parquet", tmp_path / "dst", next_class)
    written = pq.read_table(tmp_path / "dst/t.parquet")
    assert written.schema.field("label").type == kind
    for column in ("label", "copy"):
        assert [float(value) for value in written.column(column).to_pylist()] == [1, 2, 0, 2, 1, 0]
    restore(tmp_path / "dst", tmp_path / "back")
    assert pq.read_table(tmp_path / "back/t.parquet").equals(pq.read_table(path))


@pytest.mark.parametrize("names", [["dog", "cat"], None])
def test_files_whose_labels_have_other_names(tmp_path: Path, names) -> None:
    rows = {"image": [{"bytes": PNG, "path": None}] * 2, "label": [0, 1]}
    for part, given in (("a", ["cat", "dog"]), ("b", names)):
        label = datasets.ClassLabel(names=given) if given else datasets.Value("int64")
        dataset = datasets.Dataset.from_dict(rows, datasets.Features({"image": datasets.Image(), "label": label}))
        dataset.to_parquet(str(tmp_path / f"{part}.parquet"))
        dataset.save_to_disk(str(tmp_path / f"saved/{part}"))
    with pytest.raises(ElixirError, match=r"b\.parquet has other names of labels than .*a\.parquet"):
        open_source(str(tmp_path / "*.parquet"))
    saved = tmp_path / "saved"
    files = [next((saved / part).glob("*.arrow")).rename(saved / f"{part}.arrow") for part in "ab"]
    state = {"_data_files": [{"filename": file.name} for file in files]}
    (saved / "state.json").write_text(json.dumps(state))
    with pytest.raises(ElixirError, match=r"b\.arrow has other names of labels than .*a\.arrow"):
        open_source(saved)


def test_splits_of_a_saved_dataset(tmp_path: Path) -> None:
    parts = datasets.DatasetDict({"train": table(), "test": table(start=20)})
    parts.save_to_disk(str(tmp_path / "src"))
    for src in (parts, tmp_path / "src"):
        assert open_source(src).read(0) == image_bytes(0)
        assert open_source(src, split="test").read(0) == image_bytes(20)
        assert open_source(src, split="test").samples[0].id == "test/00000000"
        with pytest.raises(ElixirError, match="no split 'dev' but train, test"):
            open_source(src, split="dev")


@pytest.mark.parametrize(
    ("tables", "beside", "pattern"),
    [
        (["data/train-00000-of-00001.parquet"], "assets", "data/*.parquet"),
        (["train.parquet"], "figures", "*.parquet"),
        (["plain_text/train.parquet"], "assets", "plain_text/*.parquet"),
        (["data/train.parquet", "test/0.parquet"], "figures", "**/*.parquet"),
    ],
)
def test_parquet_beside_folders_that_may_be_classes(tmp_path: Path, tables, beside: str, pattern: str) -> None:
    """Either would be copied unexamined, as if nothing were wrong with it."""
    src = make_tree(tmp_path / "a[1]", {f"{beside}/fig0.png": PNG, ".cache/x.parquet": b"", "cat.parquet/0.png": PNG})
    assert isinstance(open_source(src), FolderSource)
    (src / "cat.parquet").rename(src / "cat")
    for name in tables:
        parquet(src / name, image=[PNG] * 2, label=["a", "b"])
    with pytest.raises(ElixirError, match=r"has both parquet files \(train.* and folders .*; give .*, or a") as refused:
        open_source(src)
    given = str(refused.value).partition("; give ")[2].partition(", or")[0]
    assert given == f"{tmp_path}/a[[]1]/{pattern}"
    assert len(open_table(given).samples) == 2


def test_state_that_lies_in_a_tree(tmp_path: Path) -> None:
    src = make_tree(tmp_path / "src", {"cat/0.png": PNG, "dog/0.png": PNG, "state.json": b'{"epoch": 3}'})
    assert open_source(src).classes == ["cat", "dog"]
    table().save_to_disk(str(src))
    assert open_source(src).classes == table().features["label"].names
    state = (src / "state.json").read_bytes()
    (src / "state.json").write_bytes(state[:-9])
    for file in [None, *src.glob("*.arrow")]:  # either is enough to tell it from a tree
        if file:
            file.unlink()
        with pytest.raises(ElixirError, match=r"state\.json cannot be read: .*; save the dataset again"):
            open_source(src)


def test_broken_tables(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ElixirError, match="cannot be read as parquet"):
        open_source(tmp_path / "a.parquet")
    table().save_to_disk(str(tmp_path / "saved"))
    file = next((tmp_path / "saved").glob("*.arrow"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ElixirError, match="cannot be read as an arrow file"):
        open_source(tmp_path / "saved")
    (tmp_path / "saved/state.json").write_text("{")
    with pytest.raises(ElixirError, match=r"state\.json cannot be read"):
        open_source(tmp_path / "saved")


OUTSIDE = ["../payload", "/tmp/payload", "..", "a/b", ".hidden", "", "a\0b", "\x1b[31m", "\ud800", 3, None]


def rewrite(file: Path, **entries) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


@pytest.mark.parametrize("name", OUTSIDE)
def test_splits_and_files_of_a_saved_dataset_stay_in_it(tmp_path: Path, name) -> None:
    datasets.DatasetDict({"train": table()}).save_to_disk(str(tmp_path / "src"))
    state = tmp_path / "src/train/state.json"
    for splits in (["train", name], [name]):
        rewrite(tmp_path / "src/dataset_dict.json", splits=splits)
        with pytest.raises(ElixirError, match=r"dataset_dict\.json has .* where the name of a file") as refused:
            open_source(tmp_path / "src")
        assert str(refused.value).isprintable()
    rewrite(state, _split=name)
    if name:
        with pytest.raises(ElixirError, match=r"state\.json has .* where the name of a file"):
            open_source(tmp_path / "src/train")
    rewrite(state, _split="train", _data_files=[{"filename": name}])
    with pytest.raises(ElixirError, match=r"state\.json has .* where the name of a file"):
        open_source(tmp_path / "src/train")


def test_links_of_a_saved_dataset_stay_in_it(tmp_path: Path) -> None:
    datasets.DatasetDict({"train": table(), "test": table()}).save_to_disk(str(tmp_path / "src"))
    (tmp_path / "secret").write_text("of somebody else")
    link = tmp_path / "src/test/data"
    link.symlink_to("state.json")
    assert len(open_source(tmp_path / "src", split="train").samples) == len(table())
    link.unlink()
    link.symlink_to("data")
    assert len(open_source(tmp_path / "src", split="train").samples) == len(table())  # a loop leads nowhere
    link.unlink()
    link.symlink_to(tmp_path / "secret")
    with pytest.raises(ElixirError, match=r"src/test/data is a link that leaves the dataset; add --follow-links"):
        open_source(tmp_path / "src", split="train")
    assert len(open_source(tmp_path / "src", split="train", follow_links=True).samples) == len(table())
    link.unlink()
    link.symlink_to("../test")
    with pytest.raises(ElixirError, match=r"src/test/data is a link to a folder"):
        open_source(tmp_path / "src", split="train")


def test_splits_of_an_object_are_plain_names() -> None:
    with pytest.raises(ElixirError, match=r"the DatasetDict has '\.\./payload' where"):
        open_source(datasets.DatasetDict({"train": table(), "../payload": table()}))
    dataset = table()
    dataset._split = "../payload"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ElixirError, match=r"the Dataset has '\.\./payload' where"):
        open_source(dataset)


@pytest.mark.parametrize("state", [1, [], {}, {"_data_files": 3}, {"_data_files": [{}]}, {"_data_files": [[]]}])
def test_odd_states_of_a_saved_dataset(tmp_path: Path, state) -> None:
    (tmp_path / "data-00000-of-00001.arrow").touch()
    (tmp_path / "state.json").write_text(json.dumps(state))
    with pytest.raises(ElixirError, match=r"state\.json (is|lists|has)"):
        open_source(tmp_path)


@pytest.mark.parametrize("listing", [1, [], {}, {"splits": 3}, {"splits": {}}, {"splits": [1]}])
def test_odd_listings_of_splits(tmp_path: Path, listing) -> None:
    (tmp_path / "dataset_dict.json").write_text(json.dumps(listing))
    with pytest.raises(ElixirError, match=r"dataset_dict\.json (is|holds|has)"):
        open_source(tmp_path)


def test_rows_in_another_order_are_refused(tmp_path: Path) -> None:
    table().save_to_disk(str(tmp_path / "src"))
    rewrite(tmp_path / "src/state.json", _indices_data_files=[{"filename": "indices.arrow"}])
    with pytest.raises(ElixirError, match="in another order"):
        open_source(tmp_path / "src")


def test_no_rows(tmp_path: Path) -> None:
    with pytest.raises(ElixirError, match="no rows"):
        open_source(table().select([]))


def test_damaged_row_group(tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet", image=[image_bytes(row) for row in range(50)], label=[1, 2] * 25)
    data = bytearray(path.read_bytes())
    data[4:2000] = bytes(1996)
    path.write_bytes(data)
    with pytest.raises(ElixirError, match="is damaged at row 0"):
        open_source(path).read(0)


@pytest.mark.parametrize("group", [1, 7, 64, 100, 1000])
def test_parquet_rows_in_any_order(tmp_path: Path, group: int) -> None:
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet", tmp_path / "c.parquet"]
    for start, (file, count) in zip((0, 150, 150), zip(files, (150, 0, 250), strict=True), strict=True):
        pq.write_table(
            pa.table({"n": range(start, start + count)}, pa.schema([("n", pa.int64())])), file, row_group_size=group
        )
    rows = ParquetRows(files, ["a", "b", "c"])
    for index in [*range(400), *np.random.default_rng(0).integers(0, 400, 50).tolist()]:
        assert rows.row(index).column("n").to_pylist() == [index]
    assert [number for piece in rows.column("n") for number in piece.to_pylist()] == list(range(400))


def test_what_is_no_dataset() -> None:
    with pytest.raises(ElixirError, match="cannot read samples from a generator"):
        open_source(number for number in range(3))
    with pytest.raises(ElixirError, match="is no path"):
        open_source("~nobody-of-this-name/x")


def test_hub_name_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ElixirError, match=r"someone/signs cannot be loaded from the Hugging Face hub: no network"):
        open_source("hf:someone/signs")


def test_hub_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        datasets, "load_dataset", lambda name: datasets.DatasetDict({"train": table(), "test": table()})
    )
    source = open_source("hf:someone/signs")
    assert source.location == "someone/signs (train)"
    assert source.read(2) == image_bytes(2)


@pytest.mark.parametrize("wrapped", ["{}", "file://{}", "zip://0.png::{}", "https://host/x.zip::{}"])
def test_a_dataset_of_the_hub_reads_no_file_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrapped: str
) -> None:
    """Else the sanitized copy would hold it, and be handed on."""
    (tmp_path / "secret").write_bytes(image_bytes(0))
    stray = wrapped.format(tmp_path / "secret")
    whole = table()
    named = datasets.Dataset.from_list(
        [{"image": {"bytes": None, "path": stray}, "label": 0}],
        datasets.Features({"image": datasets.Image(), "label": whole.features["label"]}),
    )
    for splits in ({"train": named}, {"train": whole, "test": named}):
        monkeypatch.setattr(datasets, "load_dataset", lambda name, splits=splits: datasets.DatasetDict(splits))
        with pytest.raises(ElixirError, match=rf"someone/signs names .*{re.escape(stray)}.* a file of this machine"):
            open_source("hf:someone/signs")


def test_a_dataset_of_the_hub_reads_the_files_that_were_downloaded_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    blob = tmp_path / "hub" / "datasets--someone--signs" / "blobs" / "0123"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(image_bytes(0))
    shot = blob.parent.parent / "snapshots" / "0.png"
    shot.parent.mkdir()
    shot.symlink_to(blob)
    named = datasets.Dataset.from_dict({"image": [str(shot)], "label": ["a"]})
    named = named.cast_column("image", datasets.Image())
    monkeypatch.setattr(datasets, "load_dataset", lambda name: datasets.DatasetDict({"train": named}))
    assert open_source("hf:someone/signs").read(0) == image_bytes(0)


@pytest.mark.parametrize("path", ["zip://x.png::{}", "s3://bucket/x.png", "nothing://x.png", "{}/x.png"])
def test_images_that_are_named_where_they_cannot_be_read(tmp_path: Path, monkeypatch, path: str) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # not installed
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    rows = [{"bytes": None, "path": path.format(tmp_path / "broken.zip")}, {"bytes": PNG, "path": None}]
    named = datasets.Dataset.from_dict({"image": rows, "label": [0, 1]}).cast_column("image", datasets.Image())
    source = open_source(named)
    assert source.read(1) == PNG
    with pytest.raises(UnreadableSample, match="no image"):
        source.read(0)


def test_files_are_named_in_lists_too() -> None:
    features = datasets.Features({"views": [datasets.Image()], "more": {"view": datasets.Image()}})
    held = {"bytes": b"x", "path": "/etc/held"}
    named = {"bytes": None, "path": "/etc/named"}
    for row in ({"views": [held, named], "more": {"view": held}}, {"views": [], "more": {"view": named}}):
        assert external_file(DatasetRows(datasets.Dataset.from_list([row], features), "train")) == "/etc/named"
    whole = datasets.Dataset.from_list([{"views": [held], "more": {"view": held}}], features)
    assert external_file(DatasetRows(whole, "train")) is None


def test_a_wrong_offset_in_an_arrow_file_is_named(tmp_path: Path) -> None:
    """Images are read through the offsets of a mapped file: unchecked, a wrong one ends the process."""
    table().save_to_disk(str(tmp_path / "src"))
    (file,) = (tmp_path / "src").glob("*.arrow")
    data = bytearray(file.read_bytes())
    sizes = np.cumsum([0, *(len(image_bytes(row)) for row in range(6)), 0]).astype(np.int32).tobytes()
    at = data.index(sizes)
    data[at + 4 : at + 8] = np.int32(2**30).tobytes()
    file.write_bytes(data)
    with pytest.raises(ElixirError, match="cannot be read as an arrow file"):
        open_source(tmp_path / "src")


@pytest.mark.parametrize("where", ["label", "path"])
def test_text_of_parquet_that_is_no_utf8(tmp_path: Path, where: str) -> None:
    bad = pa.array([b"caf\xe9"] * 2).view(pa.string())
    images = pa.StructArray.from_arrays([pa.array([PNG] * 2), bad], ["bytes", "path"])
    columns = {"image": images, "label": bad} if where == "label" else {"image": images, "label": [0, 1]}
    with pytest.raises(ElixirError, match="is damaged in its column"):
        open_source(parquet(tmp_path / "train.parquet", **columns))


def test_a_link_among_the_splits_copies_nothing_else(tmp_path: Path) -> None:
    parquet(tmp_path / "src/train.parquet", image=[PNG] * 2, label=[0, 1])
    (tmp_path / "src/test.parquet").symlink_to("/etc/hostname")
    with pytest.raises(ElixirError, match=r"test\.parquet cannot be read as parquet"):
        open_source(tmp_path / "src")


def test_the_split_that_is_usual(tmp_path: Path) -> None:
    splits: dict[Any, datasets.Dataset] = {"train": table(5), "test": table(3)}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    for name, split in splits.items():
        split.to_parquet(str(tmp_path / "parquet" / f"{name}.parquet"))
    table(4).save_to_disk(str(tmp_path / "single"))
    for src in (tmp_path / "saved", tmp_path / "parquet", datasets.DatasetDict(splits)):
        assert len(open_table(src).samples) == 5
        assert len(open_table(src, usual="test").samples) == 3
        assert len(open_table(src, usual="test", split="train").samples) == 5
    assert len(open_table(tmp_path / "single", usual="test").samples) == 4
    with pytest.raises(ElixirError, match="has no split 'test' but train, dev; name one with --split, or give it"):
        open_source(datasets.DatasetDict({"train": table(5), "dev": table(3)}), usual="test")


@pytest.mark.parametrize("kind", ["parquet", "hf"])
def test_an_output_in_the_folder_of_a_table_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "hf":
        table().save_to_disk(str(tmp_path / "src"))
    else:
        (tmp_path / "src").mkdir()
        table().to_parquet(str(tmp_path / "src/train.parquet"))
    source = open_source(tmp_path / "src")
    with pytest.raises(ElixirError, match="lies inside the source"):
        refuse_overlap(source, tmp_path / "src/out")
    with pytest.raises(ElixirError, match="lies inside the destination"):
        refuse_overlap(source, tmp_path)
    refuse_overlap(source, tmp_path, around=True)


def test_images_that_are_only_named_are_not_written_over(tmp_path: Path) -> None:
    for name in ("a/0.png", "b/1.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        (tmp_path / "images" / name).write_bytes(PNG)
    paths = sorted(map(str, (tmp_path / "images").rglob("*.png")))
    named = datasets.Dataset.from_dict({"image": paths, "label": [0, 1]}).cast_column("image", datasets.Image())
    torch_like: Any = ImageFolder(str(tmp_path / "images"), transform=np.asarray)
    for data in (named, torch_like):
        source = open_source(data)
        for out in ("images", "images/a/out"):
            with pytest.raises(ElixirError, match="lies inside"):
                refuse_overlap(source, tmp_path / out)
        refuse_overlap(source, tmp_path / "out")
    stored = open_source(table())  # names within its own bytes
    refuse_overlap(stored, tmp_path / "p")
    refuse_overlap(stored, Path())  # its location is no path


def test_a_column_of_splits_is_told(tmp_path: Path) -> None:
    rows = table().add_column("split", ["train", "test"] * 3 + ["train"])  # pyright: ignore[reportCallIssue]
    rows.to_parquet(str(tmp_path / "rows.parquet"))
    notes = open_source(tmp_path / "rows.parquet").notes
    assert notes == ["column 'split' may tell splits; all rows are read, whatever it says"]
