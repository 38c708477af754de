"""Exports of runs of every kind, read by the programs that they are for."""

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from elixir.data.decision_files import COLUMNS, read_decisions, write_decisions
from elixir.data.decisions import HumanDecision
from elixir.data.exchange.export import export
from elixir.data.exchange.samples import Exported, chosen
from elixir.data.exchange.spreadsheet import write_spreadsheet
from elixir.data.image import decode
from elixir.data.manifest import class_names, read_manifest
from elixir.data.open import open_source
from elixir.data.output_images import OutputImages
from elixir.errors import ElixirError

from ..conftest import change_some, image_bytes, make_tree, sanitized
from ..test_output_images import save

HOSTILE = [
    "=cmd|' /C calc'!A1",
    "+1",
    "-2",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "'=quoted",
    "''",
    "a,b",
    'say "x"',
    "a\r\nb",
    ";",
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def run(tmp_path: Path, kind: str = "folder", sink: Any = None) -> Path:
    source = open_source(save(kind, tmp_path / "src"))
    sanitized(source, sink or source.kind, tmp_path / "dst", change_some(1))
    return tmp_path / "dst"


def fields(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, strict=True))


@pytest.mark.parametrize("only", ["doubtful", "changed", "all"])
@pytest.mark.parametrize("kind", ["folder", "list", "hf", "parquet", "webdataset"])
def test_a_hugging_face_dataset(tmp_path: Path, kind: str, only) -> None:
    dst = run(tmp_path, kind)
    manifest = read_manifest(dst / ".elixir/manifest.parquet")
    rows = np.sort(chosen(manifest, only)).tolist()
    assert export(dst, tmp_path / "out", "hf", only) == len(rows) > 0
    loaded = datasets.load_from_disk(str(tmp_path / "out"))
    assert isinstance(loaded, datasets.Dataset)
    assert loaded.features["label"] == loaded.features["new_label"] == datasets.ClassLabel(names=class_names(manifest))
    assert loaded.features["poison_score"].dtype == "float32"
    images = OutputImages(dst, manifest)
    raw: Any = loaded.cast_column("image", datasets.Image(decode=False)).cast_column(
        "new_image", datasets.Image(decode=False)
    )
    for row, facts, told in zip(rows, manifest.take(rows).to_pylist(), raw, strict=True):
        assert (told["image"] or {}).get("bytes") == images.before(row)
        assert (told["new_image"] or {}).get("bytes") == images.after(row)
        assert [told[name] for name in ("id", "action", "reason")] == [
            facts[name] for name in ("id", "action", "reason")
        ]
        labels = [None if facts[name] < 0 else facts[name] for name in ("label", "new_label")]
        assert [told["label"], told["new_label"]] == labels
        assert (told["poison_score"] is None) == (facts["height"] == 0)
        assert told["poison_score"] is None or told["poison_score"] == pytest.approx(facts["poison_score"], abs=1e-6)
    pictures: Any = loaded["image"]
    assert {picture.size for picture in pictures if picture is not None} == {(5, 6)}


def tiffs(tmp_path: Path) -> Path:
    """A run on images of which browsers do not show all."""
    kinds = {"a.png": "PNG", "b.tiff": "TIFF", "c.ppm": "PPM", "d.jpg": "JPEG", "e.bmp": "BMP"}
    files = {f"{name}/{file}": image_bytes(6, kind) for name in ("cat", "dog") for file, kind in kinds.items()}
    files["cat/broken.png"] = b"broken"
    source = open_source(make_tree(tmp_path / "src", files))
    sanitized(source, "folder", tmp_path / "dst", change_some(1))
    return tmp_path / "dst"


def test_tasks_for_label_studio(tmp_path: Path) -> None:
    dst = tiffs(tmp_path)
    assert export(dst, tmp_path / "out", "label-studio", "all") == 10
    tasks = json.loads((tmp_path / "out/tasks.json").read_text())
    manifest = read_manifest(dst / ".elixir/manifest.parquet")
    ids, images = manifest["id"].to_pylist(), OutputImages(dst, manifest)
    assert [task["data"]["id"] for task in tasks] == [
        ids[row] for row in chosen(manifest, "all") if ids[row][4:8] != "brok"
    ]
    for task in tasks:
        picture = tmp_path / task["data"]["image"].removeprefix("/data/local-files/?d=")
        before = images.before(ids.index(task["data"]["id"]))
        assert before is not None
        assert picture.suffix == (".png" if task["data"]["id"].endswith((".tiff", ".ppm")) else picture.suffix)
        assert (decode(picture.read_bytes()).rgb == decode(before).rgb).all()
        with Image.open(picture) as shown:
            assert shown.format in ("PNG", "JPEG", "BMP")


def test_a_dataset_for_fiftyone(tmp_path: Path) -> None:
    dst = tiffs(tmp_path)
    assert export(dst, tmp_path / "out", "fiftyone", "all") == 10
    content = json.loads((tmp_path / "out/labels.json").read_text())
    assert content["classes"] == ["cat", "dog"]
    stems = sorted(path.stem for path in (tmp_path / "out/data").iterdir())
    assert sorted(content["labels"]) == stems
    table = {row["id"]: row for row in read_manifest(dst / ".elixir/manifest.parquet").to_pylist()}
    for told in content["labels"].values():
        row = table[told["attributes"]["sample_id"]]
        assert told["label"] == row["class"]
        assert (told["attributes"]["new_label"], told["attributes"]["action"]) == (row["new_class"], row["action"])


def test_the_package_of_fiftyone_reads_it(tmp_path: Path) -> None:
    """By its importer of this format, which needs no database; a `Dataset` of FiftyOne needs mongod."""
    data = pytest.importorskip("fiftyone.utils.data", reason="pip install fiftyone", exc_type=ImportError)
    export(tiffs(tmp_path), tmp_path / "out", "fiftyone", "all")
    with data.FiftyOneImageClassificationDatasetImporter(dataset_dir=str(tmp_path / "out")) as importer:
        samples = list(importer)
        assert importer.get_dataset_info() == {"classes": ["cat", "dog"]}
    assert len(samples) == 10
    table = {row["id"]: row for row in read_manifest(tmp_path / "dst/.elixir/manifest.parquet").to_pylist()}
    for place, _, label in samples:
        assert Path(place).is_file()
        assert label.label == table[label.sample_id]["class"]
        assert label.new_label == table[label.sample_id]["new_class"]
        assert label.poison_score == pytest.approx(table[label.sample_id]["poison_score"], abs=1e-6)


def test_a_spreadsheet_with_decisions_comes_back(tmp_path: Path) -> None:
    dst = run(tmp_path)
    out = tmp_path / "to look at/decisions.csv"
    count = export(dst, out, "csv", "all")
    manifest = {row["id"]: row for row in read_manifest(dst / ".elixir/manifest.parquet").to_pylist()}
    rows = fields(out)
    assert {row["id"] for row in rows} == manifest.keys()
    assert len(rows) == count == len(manifest)
    assert [row["given_label"] for row in rows] == [manifest[row["id"]]["class"] for row in rows]
    assert read_decisions(out, ["cat", "dog"]) == []
    rows[1] |= {"decision": "keep"}
    rows[2] |= {"decision": "relabel", "label": "dog", "by": "Ann", "at": "2026-01-01", "note": "a dog"}
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert read_decisions(out, ["cat", "dog"]) == [
        HumanDecision(rows[1]["id"], "keep"),
        HumanDecision(rows[2]["id"], "relabel", "dog", "Ann", "2026-01-01", "a dog"),
    ]


def test_a_label_without_a_decision_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("id,decision,label\na,,\nb,,dog\n")
    with pytest.raises(ElixirError, match="line 3 has a label but no decision"):
        read_decisions(tmp_path / "d.csv", ["dog"])


def test_no_cell_is_a_formula_and_ids_stay_exact(tmp_path: Path) -> None:
    samples = [Exported(0, text, text, text, "kept", text, 0.5, None) for text in HOSTILE]
    assert write_spreadsheet(tmp_path / "s.csv", samples) == len(HOSTILE)
    rows = fields(tmp_path / "s.csv")
    assert not [cell for row in rows for cell in row.values() if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    with (tmp_path / "s.csv").open("a", encoding="utf-8", newline="") as file:
        csv.DictWriter(file, COLUMNS).writerows({"id": row["id"] + "x", "decision": "drop"} for row in rows)
    assert [decision.id for decision in read_decisions(tmp_path / "s.csv", [])] == [f"{text}x" for text in HOSTILE]


@given(ids=st.lists(TEXTS | st.sampled_from(HOSTILE), unique=True), label=TEXTS)
def test_decisions_come_back_exactly(ids: list[str], label: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("decisions") / "d.csv"
    decisions = [HumanDecision(id, "relabel", label, id, label, id) for id in ids]
    write_decisions(path, decisions)
    assert read_decisions(path, [label]) == decisions


def test_refusals(tree: Path, tmp_path: Path) -> None:
    sanitized(open_source(tree), "folder", dst := tmp_path / "dst", change_some(1))
    for options, message in (
        ({"to": "labelstudio"}, "unknown --to 'labelstudio'; did you mean 'label-studio'"),
        ({"to": "csv", "only": "some"}, "unknown --only 'some'; possible: doubtful, changed, all"),
        ({"to": "csv", "out": dst / "x.csv"}, "is inside"),
        ({"to": "csv", "out": tree}, "exists; give another file"),
        ({"to": "hf", "out": tree}, "exists and is not empty"),
    ):
        with pytest.raises(ElixirError, match=message):
            export(**{"dst": dst, "out": tmp_path / "out", **options})
    kept = next(row for row in read_manifest(dst / ".elixir/manifest.parquet").to_pylist() if row["action"] == "kept")
    (dst / kept["output"]).unlink()
    with pytest.raises(ElixirError, match=r"cannot be read: No such file.*; the output of the run was changed"):
        export(dst, tmp_path / "out", "label-studio", "all")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))
