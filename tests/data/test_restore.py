"""From the output back to the input: byte for byte, whatever was decided and whatever the names are."""

import json
import os
import shutil
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elixir.data.files.folder import FolderSource
from elixir.data.files.tree import walk
from elixir.data.open import open_source
from elixir.data.restore import restore
from elixir.data.sink import Action, Decision
from elixir.data.source import Source
from elixir.data.tables.table import TableSource
from elixir.data.workdir import locked
from elixir.errors import ElixirError

from .conftest import change_some, emit, image_bytes, make_tree, open_table, read_tree, table

SOME_IMAGES = [image_bytes(seed, kind) for seed, kind in enumerate(("PNG", "JPEG", "BMP", "PNG", "WEBP"))]
CONTENTS = st.sampled_from([*SOME_IMAGES, SOME_IMAGES[0][:50], b"", b"no image"])
LETTERS = st.sampled_from(
    ["a", "A", "b", ".", " ", "'", '"', "\n", "\\", "%", "-1", "é", "e\u0301", "😀", "\udce9", ".png", ".JPG"]
)
NAMES = st.lists(LETTERS, min_size=1, max_size=5).map("".join).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    """Files by path, at least one of them an image in a class folder."""
    files = {"cat/image.png": SOME_IMAGES[0]}
    for path, data in draw(st.lists(st.tuples(PATHS, CONTENTS), max_size=12)):
        start = draw(st.sampled_from(["", "cat/", "dog/"])) + path
        taken = any(start == other or start.startswith(other + "/") or other.startswith(start + "/") for other in files)
        if not taken:
            files[start] = data
    return files


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


thorough = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@thorough
@given(files=trees())
def test_all_kept_is_the_identical_tree(files, tmp_path: Path) -> None:
    src = make_tree(fresh(tmp_path / "src"), files)
    source = FolderSource(walk(src))
    dst = fresh(tmp_path / "dst")
    emit(source, "folder", dst)
    expected = read_tree(src)
    for index, action in enumerate(pq.read_table(dst / ".elixir/manifest.parquet")["action"].to_pylist()):
        if action == "quarantined":
            path = os.path.relpath(source.path(index), src)
            assert (dst / ".elixir/quarantine" / path).read_bytes() == expected.pop(path)
    assert read_tree(dst) == expected


@thorough
@given(files=trees(), seed=st.integers(0, 99), kind=st.sampled_from(["folder", "folder", "hf", "parquet"]))
def test_folder_comes_back_byte_for_byte(files, seed, kind, tmp_path: Path) -> None:
    src = make_tree(fresh(tmp_path / "src"), files)
    dst = fresh(tmp_path / "dst")
    outputs = [output for output in emit(open_source(f"folder:{src}"), kind, dst, change_some(seed)) if output]
    assert len(set(outputs)) == len(outputs)
    assert restore(dst, fresh(tmp_path / "back")) == len(open_source(f"folder:{src}").samples)
    assert read_tree(tmp_path / "back") == read_tree(src)


def test_links_come_back(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "src", {"cat/a.png": SOME_IMAGES[0]})
    (root / "cat/inside.png").symlink_to("a.png")
    (root / "cat/out.png").symlink_to("/dev/null")
    (root / "cat/self").symlink_to(".")
    emit(open_source(f"folder:{root}"), "folder", tmp_path / "dst")
    restore(tmp_path / "dst", tmp_path / "back")
    assert (tmp_path / "back/cat/inside.png").read_bytes() == SOME_IMAGES[0]
    assert (tmp_path / "back/cat/out.png").readlink() == Path("/dev/null")
    assert (tmp_path / "back/cat/self").readlink() == Path()


@pytest.mark.parametrize("action", ["kept", "dropped", "quarantined"])
def test_files_that_were_replaced_by_links_come_back_as_files(tree: Path, tmp_path: Path, action: Action) -> None:
    """As DVC and git-annex do."""

    def decide(source: Source, index: int) -> Decision:
        id, label = source.samples[index].id, source.samples[index].label
        return Decision(action if id == "cat/a.png" else "kept", label)

    dst, store = tmp_path / "dst", tmp_path / "store"
    emit(open_source(tree), "folder", dst, decide)
    part = {"kept": dst, "dropped": dst / ".elixir/originals", "quarantined": dst / ".elixir/quarantine"}[action]
    (part / "cat/a.png").rename(store)
    (part / "cat/a.png").symlink_to(store)
    restore(dst, tmp_path / "back")
    assert not (tmp_path / "back/cat/a.png").is_symlink()
    assert read_tree(tmp_path / "back") == read_tree(tree)
    store.write_bytes(b"changed")
    with pytest.raises(ElixirError, match=r"cat/a\.png is not what it was"):
        restore(dst, tmp_path / "again")


def test_links_out_of_the_output_are_not_followed_where_no_digest_tells_the_file(tree: Path, tmp_path: Path) -> None:
    (tree / "readme").write_text("about")
    emit(open_source(tree), "folder", tmp_path / "dst")
    (tmp_path / "secret").write_text("of another")
    (tmp_path / "dst/readme").unlink()
    (tmp_path / "dst/readme").symlink_to(tmp_path / "secret")
    with pytest.raises(ElixirError, match="readme is a link that leaves"):
        restore(tmp_path / "dst", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_files_beside_the_output_stay(tree: Path, tmp_path: Path) -> None:
    emit(open_source(tree), "folder", tmp_path / "dst")
    (tmp_path / ".back.file").write_text("mine")
    restore(tmp_path / "dst", tmp_path / "back")
    assert (tmp_path / ".back.file").read_text() == "mine"


def test_work_folders_of_others_stay(tree: Path, tmp_path: Path) -> None:
    emit(open_source(tree), "folder", tmp_path / "dst")
    others = make_tree(tmp_path / ".back.partial", {"a.png": SOME_IMAGES[0]})
    with locked(tmp_path / ".back.elixir-lock"):
        make_tree(tmp_path / ".back.elixir-partial", {"a.png": SOME_IMAGES[0]})
        with pytest.raises(ElixirError, match="another run is at work here"):
            restore(tmp_path / "dst", tmp_path / "back")
        assert read_tree(tmp_path / ".back.elixir-partial")
    restore(tmp_path / "dst", tmp_path / "back")
    assert read_tree(tmp_path / "back") == read_tree(tree)
    assert list(tmp_path.glob(".*")) == [others]
    assert read_tree(others) == {"a.png": SOME_IMAGES[0]}


def all_rows(source: TableSource) -> list:
    return [source.rows.row(index).to_pylist()[0] for index in range(len(source.samples))]


def save(kind: str, src: Path) -> Path:
    """A table on disk: a dataset, one of two splits, or parquet files of two splits."""
    if kind == "hf":
        table().save_to_disk(str(src))
    elif kind == "splits":
        datasets.DatasetDict({"train": table(), "test": table(start=9)}).save_to_disk(str(src))
    else:
        src.mkdir()
        for name in ("train-0", "train-1", "test"):
            table().to_parquet(str(src / f"{name}.parquet"))
    return src


@pytest.mark.parametrize("sink", ["folder", "hf", "parquet"])
@pytest.mark.parametrize("kind", ["hf", "splits", "parquet"])
def test_table_comes_back_row_by_row(tmp_path: Path, kind: str, sink) -> None:
    src = save(kind, tmp_path / "src")
    source = open_table(src)
    for seed in range(3):
        emit(source, sink, fresh(tmp_path / "dst"), change_some(seed))
        assert restore(tmp_path / "dst", fresh(tmp_path / "back")) == len(source.samples)
        back = open_table(tmp_path / "back")
        assert (back.kind, back.classes) == (source.kind, source.classes)
        assert back.rows.schema.equals(source.rows.schema, check_metadata=True)
        assert back.rows.parts == source.rows.parts
        assert all_rows(back) == all_rows(source)
        if sink == back.kind and kind != "hf":
            other = "test" if kind == "splits" else "test.parquet"
            assert (src / other).is_dir() or (tmp_path / "back" / other).read_bytes() == (src / other).read_bytes()
            assert (src / other).is_file() or read_tree(tmp_path / "back" / other) == read_tree(src / other)


@pytest.mark.parametrize("sink", ["folder", "hf", "parquet"])
@pytest.mark.parametrize("splits", [False, True])
def test_licence_comes_back(tmp_path: Path, splits: bool, sink) -> None:
    data = table()
    about = {"description": "Signs.", "citation": "@misc{signs}", "homepage": "https://signs.org", "license": "CC-BY"}
    vars(data.info).update(about)
    (datasets.DatasetDict({"train": data}) if splits else data).save_to_disk(str(tmp_path / "src"))
    emit(open_source(tmp_path / "src"), sink, tmp_path / "dst", change_some(1))
    restore(tmp_path / "dst", tmp_path / "back")
    assert open_table(tmp_path / "back").rows.about == about
    file = tmp_path / "dst/.elixir/restore.json"
    facts = json.loads(file.read_text())
    del facts["about"]  # as it was written before
    file.write_text(json.dumps(facts))
    restore(tmp_path / "dst", tmp_path / "again")
    assert open_table(tmp_path / "again").rows.about == dict.fromkeys(about, "")


def test_plain_binary_column_comes_back(tmp_path: Path) -> None:
    rows = {"img": SOME_IMAGES[:4], "y": [3, 1, 3, 1]}
    (tmp_path / "src").mkdir()
    datasets.Dataset.from_dict(rows).to_parquet(str(tmp_path / "src/data.parquet"))
    source = open_table(tmp_path / "src/data.parquet")
    assert source.classes == ["1", "3"]
    for sink in ("hf", "folder", "parquet"):
        emit(source, sink, tmp_path / sink, change_some(1))
        restore(tmp_path / sink, tmp_path / f"{sink}-back")
        back = open_table(tmp_path / f"{sink}-back")
        assert all_rows(back) == all_rows(source)


STRUCT = {"bytes": pa.binary(), "path": pa.string()}


@pytest.mark.parametrize("sink", ["folder", "hf", "parquet"])
@pytest.mark.parametrize(
    "kind",
    [
        pa.binary(),
        pa.large_binary(),
        pa.struct({"bytes": pa.binary()}),
        pa.struct({"path": pa.string(), "bytes": pa.binary()}),
        pa.struct({"bytes": pa.large_binary(), "path": pa.string()}),
        pa.struct({**STRUCT, "w": pa.int32(), "more": pa.struct({"x": pa.list_(pa.float32())})}),
    ],
    ids=str,
)
def test_images_of_any_type_come_back(tmp_path: Path, kind: pa.DataType, sink) -> None:
    fields = [
        {"bytes": image_bytes(row), "path": f"p/{row}.png", "w": row, "more": {"x": [row / 2]}} for row in range(12)
    ]
    images = pa.array(fields if pa.types.is_struct(kind) else [field["bytes"] for field in fields], kind)
    places = pa.array(["here", "there", None] * 4).dictionary_encode()
    pq.write_table(pa.table({"image": images, "label": [3, 1] * 6, "place": places}), tmp_path / "src.parquet")
    source = open_table(tmp_path / "src.parquet")
    emit(source, sink, tmp_path / "dst", change_some(1))
    restore(tmp_path / "dst", tmp_path / "back")
    back = open_table(tmp_path / "back")
    assert back.rows.schema.equals(source.rows.schema)
    assert all_rows(back) == all_rows(source)


@pytest.mark.parametrize("sink", ["folder", "parquet", "hf"])
@pytest.mark.parametrize("odd", ["elixir_row", "my.note", "a map", "description"])
def test_odd_columns_come_back(tmp_path: Path, odd: str, sink) -> None:
    rows = pa.table({"my.image": SOME_IMAGES, "label": [3, 1, 3, 1, 3], "elixir_row": [4, 3, 2, 1, 0]})
    if odd == "a map":
        rows = rows.append_column(odd, pa.array([[("a", 1)]] * 5, pa.map_(pa.string(), pa.int32())))
    elif odd == "description":
        rows = rows.replace_schema_metadata({"huggingface": "no json"})
    elif odd == "my.note":
        rows = rows.append_column(odd, [["x"] * 5])
    pq.write_table(rows, tmp_path / "src.parquet")
    source = open_table(tmp_path / "src.parquet")
    if (odd, sink) == ("a map", "hf"):
        with pytest.raises(ElixirError, match="a Hugging Face dataset cannot hold; use --to"):
            emit(source, sink, tmp_path / "dst")
        return
    emit(source, sink, tmp_path / "dst", change_some(1))
    restore(tmp_path / "dst", tmp_path / "back")
    back = open_table(tmp_path / "back")
    assert back.rows.schema.equals(source.rows.schema, check_metadata=True)
    assert all_rows(back) == all_rows(source)


def test_paths_are_in_a_hugging_face_dataset(tmp_path: Path) -> None:
    kind = pa.struct({"path": pa.string(), "bytes": pa.large_binary()})
    images = pa.array([{"bytes": SOME_IMAGES[0], "path": "a.png"}], kind)
    pq.write_table(pa.table({"image": images, "label": [1]}), tmp_path / "src.parquet")
    emit(open_source(tmp_path / "src.parquet"), "hf", tmp_path / "dst")
    assert all_rows(open_table(tmp_path / "dst")) == [{"image": {"bytes": SOME_IMAGES[0], "path": "a.png"}, "label": 1}]


def test_refusals(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ElixirError, match="does not exist; give what `elixir sanitize` has written"):
        restore(tree, tmp_path / "back")
    dst = tmp_path / "dst"
    emit(open_source(tree), "folder", dst)
    with pytest.raises(ElixirError, match="is inside"):
        restore(dst, dst / "back")
    with pytest.raises(ElixirError, match="not empty"):
        restore(dst, tree)
    (dst / "cat/a.png").write_bytes(b"changed")
    with pytest.raises(ElixirError, match=r"cat/a\.png is not what it was"):
        restore(dst, tmp_path / "back")
    (dst / "cat/a.png").unlink()
    with pytest.raises(ElixirError, match="is missing"):
        restore(dst, tmp_path / "back")
    (dst / ".elixir/restore.json").unlink()  # as a scan leaves it
    with pytest.raises(ElixirError, match="of a scan, give what `elixir sanitize` has written"):
        restore(dst, tmp_path / "back")
    assert read_tree(tmp_path / "back") == {}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("sink", ["folder", "hf"])
@pytest.mark.parametrize("lost", ["quarantine", "originals/dog/a.png", "readme.md", "dog/notes.txt"])
def test_lost_files_of_a_folder_are_missed(tree: Path, tmp_path: Path, sink, lost: str) -> None:
    actions: dict[str, Action] = {"dog/a.png": "dropped", "dog/d.bmp": "quarantined"}

    def decide(source: Source, index: int) -> Decision:
        return Decision(actions.get(source.samples[index].id, "kept"), source.samples[index].label)

    dst = tmp_path / "dst"
    emit(open_source(tree), sink, dst, decide)
    in_run = lost.startswith(("quarantine", "originals"))
    path = dst / ".elixir" / lost if in_run else (dst / lost if sink == "folder" else dst / ".elixir/originals" / lost)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ElixirError, match=f"{lost}.* is missing"):
        restore(dst, tmp_path / "back")
    assert read_tree(tmp_path / "back") == {}


def test_what_could_not_be_copied_is_not_missed(tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tree / "cat/pipe.png")
    source = open_source(tree)
    (tree / "readme.md").unlink()
    emit(source, "folder", tmp_path / "dst")
    assert restore(tmp_path / "dst", tmp_path / "back") == len(source.samples) - 1
    (tree / "cat/pipe.png").unlink()
    assert read_tree(tmp_path / "back") == read_tree(tree)


@pytest.mark.parametrize(
    ("kind", "sink", "lost"),
    [
        ("splits", "hf", "test"),
        ("splits", "hf", ".elixir/originals.parquet"),
        ("splits", "folder", ".elixir/columns.parquet"),
        ("parquet", "parquet", "test.parquet"),
        ("parquet", "hf", ".elixir/quarantine.parquet"),
    ],
)
def test_lost_files_of_a_table_are_missed(tmp_path: Path, kind: str, sink, lost: str) -> None:
    dst = tmp_path / "dst"
    emit(open_source(save(kind, tmp_path / "src")), sink, dst)
    shutil.rmtree(dst / lost) if (dst / lost).is_dir() else (dst / lost).unlink()
    with pytest.raises(ElixirError, match=rf"{lost} (is missing|cannot be read)"):
        restore(dst, tmp_path / "back")
    assert read_tree(tmp_path / "back") == {}


def test_manifest_cannot_write_elsewhere(tree: Path, tmp_path: Path) -> None:
    emit(open_source(tree), "folder", tmp_path / "dst")
    path = tmp_path / "dst/.elixir/manifest.parquet"
    manifest = pq.read_table(path)
    ids = ["../evil.png", *manifest["id"].to_pylist()[1:]]
    pq.write_table(manifest.set_column(manifest.schema.get_field_index("id"), "id", [ids]), path)
    with pytest.raises(ElixirError, match="no path inside"):
        restore(tmp_path / "dst", tmp_path / "back")
    assert not (tmp_path / "evil.png").exists()


@pytest.mark.parametrize("path", ["../back-evil", "//tmp/evil", "a/../../../evil"])
@pytest.mark.parametrize(
    ("kind", "sink", "fact"),
    [
        ("folder", "folder", "folders"),
        ("folder", "folder", "others"),
        ("folder", "parquet", "outputs"),
        ("splits", "hf", "siblings"),
        ("splits", "hf", "split"),
        ("splits", "hf", "outputs"),
        ("parquet", "parquet", "files"),
        ("parquet", "parquet", "copies"),
        ("parquet", "parquet", "outputs"),
    ],
)
def test_facts_cannot_lead_elsewhere(tree: Path, tmp_path: Path, kind, sink, fact: str, path: str) -> None:
    emit(open_source(tree if kind == "folder" else save(kind, tmp_path / "src")), sink, tmp_path / "dst")
    file = tmp_path / "dst/.elixir/restore.json"
    facts = json.loads(file.read_text())
    hostile = path
    if fact == "outputs":
        hostile = [[stem, path] for stem, _ in facts["outputs"]]
    elif isinstance(facts[fact], list):
        hostile = [path for _ in facts[fact]]
    file.write_text(json.dumps({**facts, fact: hostile}))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ElixirError, match="no path inside"):
        restore(tmp_path / "dst", tmp_path / "back")
    assert sorted(tmp_path.iterdir()) == before
    assert read_tree(tmp_path / "back") == {}


@pytest.mark.parametrize("kind", ["folder", "hf", "parquet"])
@pytest.mark.parametrize("value", [None, 7, "text", [1], {"a": 1}, "missing"])
def test_facts_of_other_kinds_are_an_error_and_nothing_is_written(tree: Path, tmp_path: Path, kind, value) -> None:
    emit(open_source(tree if kind == "folder" else save(kind, tmp_path / "src")), kind, tmp_path / "dst")
    file = tmp_path / "dst/.elixir/restore.json"
    facts = json.loads(file.read_text())
    for fact in facts:
        spoiled = {**facts, fact: value}
        if value == "missing":
            del spoiled[fact]
        file.write_text(json.dumps(spoiled))
        try:
            restore(tmp_path / "dst", tmp_path / "back")
        except ElixirError:
            assert read_tree(tmp_path / "back") == {}
        shutil.rmtree(tmp_path / "back", ignore_errors=True)
    for text in ("[]", "7", "null"):
        file.write_text(text)
        with pytest.raises(ElixirError, match="holds no facts"):
            restore(tmp_path / "dst", tmp_path / "back")


V02 = Path(__file__).parent / "fixtures" / "v02"  # written by Elixir 0.2 from `input`: a folder, and a parquet file


def test_a_folder_written_by_0_2_comes_back_byte_for_byte(tmp_path: Path) -> None:
    assert restore(V02 / "folder", tmp_path / "back") == 12
    assert read_tree(tmp_path / "back") == read_tree(V02 / "input")


def test_parquet_written_by_0_2_comes_back_row_by_row(tmp_path: Path) -> None:
    assert restore(V02 / "parquet", tmp_path / "back") == 12
    files = sorted((V02 / "input").glob("*/*"))
    rows = [
        {
            "image": {"bytes": file.read_bytes(), "path": file.name},
            "label": int(file.parent.name == "yield"),
            "track": n,
        }
        for n, file in enumerate(files)
    ]
    back = open_table(tmp_path / "back")
    assert back.classes == ["stop", "yield"]
    assert all_rows(back) == rows


def test_a_saved_dataset_of_links_is_read_when_asked_for(tmp_path: Path) -> None:
    table().save_to_disk(str(tmp_path / "blobs"))
    (tmp_path / "snapshot").mkdir()
    for file in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / file.name).symlink_to(file)
    source = open_table(tmp_path / "snapshot", follow_links=True)
    emit(source, "hf", tmp_path / "dst", change_some(1))
    assert not any(path.is_symlink() for path in (tmp_path / "dst").rglob("*"))
    restore(tmp_path / "dst", tmp_path / "back")
    assert all_rows(open_table(tmp_path / "back")) == all_rows(open_table(tmp_path / "blobs"))
