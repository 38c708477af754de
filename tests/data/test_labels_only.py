"""New labels for images that stay where they are, and the way back to the input."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from small_world import elixir, place
from test_result import judged
from test_rewrite import SOURCES, relabel

from elixir.api import card, decide, export, restore, sanitize
from elixir.data.labels_only import write_labels
from elixir.data.manifest import ManifestRow, read_manifest, write_manifest
from elixir.errors import ElixirError
from elixir.pages.report import sentence
from elixir.result import Result

from .conftest import image_bytes, make_tree, read_tree, table


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def labelled(tmp_path: Path, kind: str = "folder", **options) -> Result:
    """The first sample would be set aside; the third is poisoned, and in the first class its label is right."""
    return sanitize(SOURCES[kind](tmp_path / "src"), tmp_path / "dst", pipeline=judged(), labels_only=True, **options)


def rows_of(result: Result) -> list[dict[str, str]]:
    with (place(result) / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", SOURCES)
def test_labels_of_every_sample_and_the_input_again(tmp_path: Path, kind: str) -> None:
    result = labelled(tmp_path, kind)
    dst, before = place(result), read_tree(tmp_path / "src")
    assert sorted(path.name for path in dst.iterdir()) == [".elixir", "labels.csv"]
    assert not [path for name in ("originals", "quarantine") for path in (dst / ".elixir").glob(f"{name}*")]
    told = [
        {"id": row["id"], "label": row["class"], "new_label": row["new_class"], "action": row["action"]}
        for row in result.table.to_pylist()
    ]
    assert rows_of(result) == told
    assert all((row["new_label"] == "") == (row["action"] in ("quarantined", "dropped")) for row in told)
    assert "the labels are in labels.csv; no image was written" in result.notes
    readable = sum(map(bool, result.table["sha256_in"].to_pylist()))
    assert restore(dst, tmp_path / "back") == readable
    assert read_tree(tmp_path / "back") == before
    assert read_tree(tmp_path / "src") == before


def test_a_poisoned_sample_with_the_right_label_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    right, wrong = labelled(tmp_path), labelled(tmp_path / "other", "hf")
    row = right.table.to_pylist()[2]
    assert (row["action"], row["new_label"]) == ("quarantined", -1)
    assert row["reason"] == "poisoned under its own label, which only a new picture could keep"
    assert wrong.counts["relabelled"] == 1
    assert rows_of(wrong)[2] == {"id": "train/00000002", "label": "..", "new_label": "cat", "action": "relabelled"}
    assert "1 was given another label" in sentence(wrong)
    assert "trigger" not in sentence(wrong)


def test_an_input_of_one_file_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(9) % 3)
    monkeypatch.chdir(tmp_path)
    result = sanitize("set.npz", "dst", pipeline=judged(), labels_only=True)
    monkeypatch.chdir("/")
    restore(place(result), tmp_path / "back")
    assert (tmp_path / "back/set.npz").read_bytes() == (tmp_path / "set.npz").read_bytes()


def test_links_and_empty_folders_come_back(tmp_path: Path) -> None:
    src = make_tree(tmp_path / "src", {f"{name}/{seed}.png": image_bytes(seed) for seed, name in enumerate("aabb")})
    (src / "a/inside.png").symlink_to("0.png")
    (src / "a/outside.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "secret.png").write_bytes(image_bytes(9))
    (src / "a/nowhere.png").symlink_to("gone.png")
    (src / "a/self").symlink_to(".")
    (src / "empty").mkdir()
    restore(place(sanitize(src, tmp_path / "dst", pipeline=judged(), labels_only=True)), tmp_path / "back")
    back = tmp_path / "back"
    assert (back / "a/inside.png").read_bytes() == image_bytes(0)
    assert (back / "a/outside.png").readlink() == tmp_path / "secret.png"
    assert (back / "a/nowhere.png").readlink() == Path("gone.png")
    assert (back / "a/self").readlink() == Path()
    assert (back / "empty").is_dir()


@pytest.mark.parametrize("kind", ["folder", "list", "parquet", "webdataset"])
def test_an_input_that_has_changed_is_not_restored(tmp_path: Path, kind: str) -> None:
    dst, src = place(labelled(tmp_path, kind)), tmp_path / "src"
    suffix = {"parquet": ".parquet", "webdataset": ".tar"}.get(kind, ".png")
    file = max((path for path in src.rglob(f"*{suffix}") if path.stat().st_size), key=lambda path: str(path))
    if kind == "parquet":
        table(5, 40).to_parquet(str(src / "train-1.parquet"))
    elif kind == "webdataset":
        data = file.read_bytes()
        file.write_bytes(data.replace(image_bytes(4), image_bytes(44)))
    else:
        file.write_bytes(image_bytes(44))
    with pytest.raises(ElixirError, match=r"of .*src.* has changed since the run; as images were left where they are"):
        restore(dst, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_samples_or_labels_that_have_changed(tmp_path: Path) -> None:
    dst, src = place(labelled(tmp_path, "list")), tmp_path / "src"
    (src / "labels.csv").write_text((src / "labels.csv").read_text().replace("5.png,dog", "5.png,cat"))
    with pytest.raises(ElixirError, match="has other samples or labels than the run has read"):
        restore(dst, tmp_path / "back")


def test_an_input_that_has_moved_is_named(tmp_path: Path) -> None:
    dst = place(labelled(tmp_path))
    (tmp_path / "src").rename(tmp_path / "moved")
    with pytest.raises(ElixirError, match=r"where its images were left: .*src does not exist .*; put it back"):
        restore(dst, tmp_path / "back")


def test_what_is_no_files_is_not_restored(tmp_path: Path) -> None:
    result = sanitize(table(), tmp_path / "dst", pipeline=judged(), labels_only=True)
    assert len(rows_of(result)) == 7
    with pytest.raises(ElixirError, match="the input was an object of Python, and nothing of it was written"):
        restore(tmp_path / "dst", tmp_path / "back")
    facts = tmp_path / "dst/.elixir/restore.json"
    facts.write_text(json.dumps({"sink": "labels", "src": 5, "options": {}}))
    with pytest.raises(ElixirError, match=r"restore\.json cannot be understood"):
        restore(tmp_path / "dst", tmp_path / "back")


def test_nothing_is_restored_into_the_input(tmp_path: Path) -> None:
    dst, before = place(labelled(tmp_path)), read_tree(tmp_path / "src")
    with pytest.raises(ElixirError, match="lies inside the source"):
        restore(dst, tmp_path / "src/back")
    assert read_tree(tmp_path / "src") == before
    assert not list((tmp_path / "src").glob(".*"))


def test_a_change_while_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dst = place(labelled(tmp_path))

    def late(*_: object) -> None:
        (tmp_path / "src/notes.txt").write_text("changed meanwhile")

    monkeypatch.setattr("elixir.data.labels_only._copy_files", late)
    with pytest.raises(ElixirError, match="has changed while it was copied"):
        restore(dst, tmp_path / "back")


def test_decisions_pictures_and_cards_are_for_datasets(tmp_path: Path) -> None:
    result = labelled(tmp_path)
    dst, id = place(result), result.table["id"][1].as_py()
    with pytest.raises(ElixirError, match=r"holds new labels only, .*--decisions FILE --labels-only"):
        decide(dst, [relabel(id, "dog")])
    with pytest.raises(ElixirError, match="holds no images, as a scan writes none, nor does --labels-only"):
        export(dst, tmp_path / "out", "label-studio")
    with pytest.raises(ElixirError, match="only labels were written"):
        card(dst)
    with pytest.raises(ElixirError, match="nor does --labels-only"):
        result.dataset()
    assert export(dst, tmp_path / "all.csv", "csv", "all") == 7
    assert not (dst / ".elixir/card.md").exists()


def test_decisions_are_carried_out_and_over(tmp_path: Path) -> None:
    id = "cat/b.png"
    first = labelled(tmp_path, decisions=[relabel(id, "dog")])
    again = sanitize(tmp_path / "src", tmp_path / "dst", pipeline=judged(), labels_only=True, overwrite=True)
    for result in (first, again):
        assert {"id": id, "label": "cat", "new_label": "dog", "action": "relabelled"} in rows_of(result)


def test_hostile_text_is_guarded(tmp_path: Path) -> None:
    row = ManifestRow("=1+1", "n", 0, 1, "", "kept", "", "", "", 1, 1, 0.0, False, 0.0, 0, "")
    write_manifest(tmp_path / "manifest.parquet", [row], ['-a\n,"', "@b"])
    write_labels(tmp_path / "labels.csv", read_manifest(tmp_path / "manifest.parquet"))
    with (tmp_path / "labels.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["id", "label", "new_label", "action"], ["'=1+1", "'-a\n,\"", "'@b", "kept"]]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    src = SOURCES["folder"](tmp_path / "src")
    monkeypatch.setattr("elixir.api._pipeline", lambda *_: judged())
    dst = tmp_path / "dst"
    assert elixir(monkeypatch, "sanitize", src, "-o", dst, "--labels-only", "--to", "parquet") == 1
    assert "leave them out" in capsys.readouterr().err
    assert not dst.exists()
    assert elixir(monkeypatch, "sanitize", src, "-o", dst, "--labels-only") == 0
    assert "labels.csv" in capsys.readouterr().out
    assert elixir(monkeypatch, "restore", dst, "-o", tmp_path / "back") == 0
    assert read_tree(tmp_path / "back") == read_tree(src)
