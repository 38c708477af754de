"""The images of a run before and after, from its output alone, whatever is made of whatever."""

import shutil
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elixir.data.manifest import read_manifest
from elixir.data.open import open_source
from elixir.data.output_images import OutputImages
from elixir.data.restore import restore
from elixir.data.sink import Decision
from elixir.data.source import Source
from elixir.errors import ElixirError

from .conftest import change_some, image_bytes, keep, make_tree, sanitized, table
from .test_webdataset import samples, write_shard

V02 = Path(__file__).parent / "fixtures" / "v02"


def save(kind: str, src: Path) -> Path:
    """A set of one kind with hostile names and a sample that cannot be read."""
    if kind == "folder":
        make_tree(
            src, {f"{name}/{row}/x\\\n'{row}.png": image_bytes(row) for row in range(9) for name in ("cat", "dog")}
        )
        (src / "cat/broken.png").write_bytes(b"broken")
    elif kind == "list":
        make_tree(src, {f"images/{row}.png": image_bytes(row) for row in range(9)})
        lines = [f"images/{row}.png,{'cat' if row % 2 else 'dog'}" for row in range(9)]
        (src / "labels.csv").write_text("\n".join(["file_name,label", *lines]))
    elif kind == "hf":
        table(12).save_to_disk(str(src))
    elif kind == "parquet":
        src.mkdir()
        table(12).to_parquet(str(src / "train-0.parquet"))
        table(12, 30).to_parquet(str(src / "train-1.parquet"))
    elif kind == "bytes":
        src.mkdir()
        datasets.Dataset.from_dict({"img": [image_bytes(row) for row in range(9)], "y": [3, 1, 2] * 3}).to_parquet(
            str(src / "data.parquet")
        )
    else:
        for number in range(3):
            content = [(f"a/{key}", data) for key, data in samples(6, 10 * number)]
            write_shard(src / f"train-{number}.tar", [*content, ("a/x\\y.json", b"{}"), ("a/x\\y.cls", b"1")])
    return src


@pytest.mark.parametrize("sink", ["folder", "hf", "parquet", "webdataset"])
@pytest.mark.parametrize("kind", ["folder", "list", "hf", "parquet", "bytes", "webdataset"])
def test_images_before_and_after(tmp_path: Path, kind: str, sink) -> None:
    source, actions = open_source(save(kind, tmp_path / "src")), set()
    for seed in range(3):
        dst = tmp_path / f"dst{seed}"
        decisions = sanitized(source, sink, dst, change_some(seed))
        actions |= {decision.action for decision in decisions}
        images = OutputImages(dst, read_manifest(dst / ".elixir/manifest.parquet"))
        for row, decision in enumerate(decisions):
            readable = keep(source, row).action == "kept"
            assert images.before(row) == (source.read(row) if readable else None)
            assert images.after(row) == decision.data
    assert actions == {"kept", "purified", "relabelled", "dropped", "quarantined"}


def test_a_list_stays_one(tmp_path: Path) -> None:
    source = open_source(save("list", tmp_path / "src"))
    decisions = sanitized(source, "list", tmp_path / "dst", change_some(1))
    images = OutputImages(tmp_path / "dst", read_manifest(tmp_path / "dst/.elixir/manifest.parquet"))
    assert [images.before(row) for row in range(9)] == [source.read(row) for row in range(9)]
    assert [images.after(row) for row in range(9)] == [decision.data for decision in decisions]


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_a_run_of_0_2(kind: str, tmp_path: Path) -> None:
    images = OutputImages(V02 / kind, manifest := read_manifest(V02 / kind / ".elixir/manifest.parquet"))
    restore(V02 / kind, tmp_path / "back")
    source = open_source(tmp_path / "back")
    restored = {sample.id: row for row, sample in enumerate(source.samples)}
    before = {id: images.before(row) for row, id in enumerate(manifest["id"].to_pylist())}
    assert sum(data is not None for data in before.values()) >= 10
    assert all(data is None or data == source.read(restored[id]) for id, data in before.items())
    after = [images.after(row) for row in range(len(manifest))]
    assert [row for row, data in enumerate(after) if data is not None] == [1, 2]


def test_what_was_changed_since_is_not_shown(tree: Path, tmp_path: Path) -> None:
    def decide(source: Source, index: int) -> Decision:
        return Decision("quarantined" if source.samples[index].id == "dog/a.png" else "kept", 0)

    source = open_source(tree)
    sanitized(source, "folder", dst := tmp_path / "dst", decide)
    rows = {sample.id: row for row, sample in enumerate(source.samples)}
    images = OutputImages(dst, manifest := read_manifest(dst / ".elixir/manifest.parquet"))
    (dst / "cat/a.png").write_bytes(image_bytes(99))
    shutil.rmtree(dst / ".elixir/quarantine")
    for id, message in (("cat/a.png", "is not what it was"), ("dog/a.png", "cannot be read: No such file")):
        with pytest.raises(ElixirError, match=message):
            images.before(rows[id])
    columns = {name: [""] * len(manifest) for name in ("output", "original")}
    scan = pa.table({**{name: manifest[name] for name in manifest.column_names}, **columns})
    with pytest.raises(ElixirError, match="holds no images"):
        OutputImages(dst, scan)
    outside = scan.set_column(scan.schema.get_field_index("original"), "original", [["../src"] * len(scan)])
    with pytest.raises(ElixirError, match="no path inside"):
        OutputImages(dst, outside.set_column(8, "sha256_out", [["0"] * len(scan)])).before(0)


def test_rows_of_tables_are_found_in_any_order(tmp_path: Path) -> None:
    source = open_source(save("parquet", tmp_path / "src"))
    sanitized(source, "parquet", tmp_path / "dst", change_some(3))
    images = OutputImages(tmp_path / "dst", read_manifest(tmp_path / "dst/.elixir/manifest.parquet"))
    rows = [row for row in range(len(source.samples)) if row % 12 < 11]
    assert [images.before(row) for row in reversed(rows)] == [source.read(row) for row in reversed(rows)]
    assert pq.read_metadata(tmp_path / "dst/.elixir/originals.parquet").num_rows > 1
