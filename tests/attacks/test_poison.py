"""Poisoning datasets on disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from elixir.attacks.adap_blend import AdapBlend
from elixir.attacks.badnets import BadNets
from elixir.attacks.blended import Blended
from elixir.attacks.input_aware import InputAware
from elixir.attacks.ssba import SSBA
from elixir.attacks.tact import TaCT
from elixir.attacks.wanet import WaNet
from elixir.data.open import open_source
from elixir.errors import ElixirError
from elixir.evaluation.truth import attack_of, last_attack, read_truth, recovery
from elixir.registry import register

CLASSES = ("give way", "no entry", "stop")


@dataclass(frozen=True, kw_only=True)
class Brighter(BadNets):
    """A clean-label attack."""

    name = "brighter"
    clean_label = True


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three classes with the same ten names each, one of them in a sub-folder, and files that are no samples."""
    random = np.random.default_rng(0)
    for name in CLASSES:
        folder = tmp_path / "src" / name
        (folder / "more").mkdir(parents=True)
        for number in range(9):
            Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8)).save(folder / f"sign_{number:03d}.png")
        Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8)).save(folder / "more" / "sign_009.png")
    (tmp_path / "src" / "notes.txt").write_text("keep me")
    return tmp_path / "src"


@pytest.fixture
def table(tree: Path) -> datasets.Dataset:
    """The same images as rows."""
    files = sorted(tree.glob("*/**/*.png"))
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
    rows = {
        "image": [{"bytes": file.read_bytes(), "path": file.name} for file in files],
        "label": [file.relative_to(tree).parts[0] for file in files],
    }
    return datasets.Dataset.from_dict(rows, features)


def truth_of(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def test_a_folder(tree, tmp_path):
    before = contents(tree)
    attack = BadNets()
    done = attack.poison_dataset(open_source(tree), tmp_path / "out", "stop", rate=0.2, seed=3)

    assert (done.samples, done.poisoned) == (30, 6)
    assert contents(tree) == before
    rows, written = truth_of(done.truth), contents(done.out)
    assert [row["id"] for row in rows] == [sample.id for sample in open_source(tree).samples]
    assert len({row["output"] for row in rows}) == 30
    assert set(written) == {row["output"] for row in rows} | {"notes.txt"}
    for row in rows:
        if row["truth"] == "clean":
            assert row["output"] == row["id"]
            assert written[row["output"]] == before[row["id"]]
            assert row["new_class"] == row["class"]
        else:
            assert row["truth"] == "poisoned"
            assert row["class"] != row["new_class"] == "stop"
            expected = attack.poison(pixels(tree / row["id"])[None], [row["id"]])[0]
            assert np.array_equal(pixels(done.out / row["output"]), expected)
            assert (done.out / row["output"]).stat().st_mtime_ns == (tree / row["id"]).stat().st_mtime_ns
    assert sum(row["truth"] == "poisoned" for row in rows) == 6


def test_new_names_look_like_the_old_ones(tree, tmp_path):
    done = BadNets().poison_dataset(open_source(tree), tmp_path / "out", "stop", rate=0.5)
    names = [path.name for path in (done.out / "stop").rglob("*.png")]
    assert len(names) == 25
    assert all(name.startswith("sign_") and len(name) == len("sign_000.png") for name in names)


def test_names_without_numbers_are_kept_apart(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "src" / name).mkdir(parents=True)
        for stem in ("One", "two", "three"):
            Image.new("RGB", (8, 8)).save(tmp_path / "src" / name / f"{stem}.png")
    done = BadNets().poison_dataset(open_source(tmp_path / "src"), tmp_path / "out", "b", rate=0.5)
    assert len(list((done.out / "b").iterdir())) == 6


def test_same_seed_same_bytes_and_other_seed_other_samples(tree, tmp_path):
    first, again, other = (
        Blended().poison_dataset(open_source(tree), tmp_path / f"out{run}", "stop", rate=0.3, seed=seed)
        for run, seed in enumerate((1, 1, 2))
    )
    assert contents(first.out) == contents(again.out)
    assert first.truth.read_bytes() == again.truth.read_bytes()
    drawn = [{row["id"] for row in truth_of(done.truth) if row["truth"] == "poisoned"} for done in (first, other)]
    assert drawn[0] != drawn[1]


def test_settings_are_on_record(tree, tmp_path):
    done = Blended(alpha=0.1, seed=5).poison_dataset(open_source(tree), tmp_path / "out", "2", rate=0.1)
    record = json.loads(pq.read_schema(done.truth).metadata[b"elixir"])
    assert record["settings"] == {"seed": 5, "truncate": False, "alpha": 0.1, "picture": "noise"}
    assert (record["attack"], record["target"], record["plan"]["rate"]) == ("blended", "stop", 0.1)


def test_a_clean_label_attack_changes_no_label_and_no_name(tree, tmp_path):
    done = Brighter().poison_dataset(open_source(tree), tmp_path / "out", "stop", rate=0.5)
    rows = truth_of(done.truth)
    assert [row["class"] for row in rows if row["truth"] == "poisoned"] == ["stop"] * 5
    assert all(row["output"] == row["id"] and row["new_class"] == row["class"] for row in rows)
    with pytest.raises(ElixirError, match="clean-label"):
        Brighter().poison_dataset(open_source(tree), tmp_path / "more", "stop", select="any")


def test_all_to_all_moves_every_class_to_the_next(tree, tmp_path):
    done = BadNets().poison_dataset(open_source(tree), tmp_path / "out", None, rate=0.5)
    rows = [row for row in truth_of(done.truth) if row["truth"] == "poisoned"]
    following = dict(zip(CLASSES, CLASSES[1:] + CLASSES[:1], strict=True))
    assert len(rows) == 15
    assert {row["class"] for row in rows} == set(CLASSES)
    for row in rows:
        assert row["new_class"] == following[row["class"]] == row["output"].split("/")[0]
    assert attack_of(done.truth) == (BadNets(), None)
    assert json.loads(pq.read_schema(done.truth).metadata[b"elixir"])["plan"]["select"] == "any"
    with pytest.raises(ElixirError, match="needs select=any, not target"):
        BadNets().poison_dataset(open_source(tree), tmp_path / "more", None, select="target")
    with pytest.raises(ElixirError, match="needs one target class"):
        Brighter().poison_dataset(open_source(tree), tmp_path / "more", None)


@pytest.mark.slow
def test_all_to_all_with_a_trained_attack_that_does_without_a_target(tree, tmp_path):
    done = SSBA(size=8, training_steps=1, bits=2).poison_dataset(open_source(tree), tmp_path / "out", None, rate=0.5)
    attack, target = attack_of(done.truth)
    assert (done.poisoned, target) == (15, None)
    row = next(row for row in truth_of(done.truth) if row["truth"] == "poisoned")
    expected = attack.poison(pixels(tree / row["id"])[None], [row["id"]])[0]
    assert np.array_equal(pixels(done.out / row["output"]), expected)
    with pytest.raises(ElixirError, match="input_aware needs one target class"):
        InputAware().poison_dataset(open_source(tree), tmp_path / "more", None)


def test_cover_samples_keep_their_label(tree, tmp_path):
    attack = WaNet()
    done = attack.poison_dataset(open_source(tree), tmp_path / "out", "stop", rate=0.2)
    rows = truth_of(done.truth)
    covers = [row for row in rows if row["truth"] == "cover"]
    assert (done.poisoned, done.covers, len(covers)) == (6, 12, 12)
    for row in covers:
        assert row["output"] == row["id"]
        assert row["new_class"] == row["class"]
        expected = attack.cover(pixels(tree / row["id"])[None], [row["id"]])[0]
        assert np.array_equal(pixels(done.out / row["output"]), expected)


def test_an_attack_on_one_source_class(tree, tmp_path):
    attack = TaCT(source="give way")
    done = attack.poison_dataset(open_source(tree), tmp_path / "out", "stop", rate=0.2)
    rows = truth_of(done.truth)
    poisoned, covers = ([row for row in rows if row["truth"] == what] for what in ("poisoned", "cover"))
    assert [(row["class"], row["new_class"]) for row in poisoned] == [("give way", "stop")] * 6
    assert [(row["class"], row["new_class"]) for row in covers] == [("no entry", "no entry")] * 6
    assert attack_of(done.truth) == (attack, "stop")
    assert json.loads(pq.read_schema(done.truth).metadata[b"elixir"])["plan"]["select"] == "source"
    by_default = TaCT().poison_dataset(open_source(tree), tmp_path / "next", "stop", rate=0.2)
    assert {row["class"] for row in truth_of(by_default.truth) if row["truth"] == "poisoned"} == {"give way"}


@pytest.mark.parametrize(
    ("attack", "target", "select", "words"),
    [
        (TaCT(), "stop", "any", "tact is an attack on one source class: it needs select=source, not any"),
        (TaCT(), None, None, "tact needs one target class"),
        (TaCT(source="stop"), "stop", None, "a source class other than the target"),
        (BadNets(), "stop", "source", "badnets has no source class"),
    ],
)
def test_a_source_class_that_cannot_be(tree, tmp_path, attack, target, select, words):
    with pytest.raises(ElixirError, match=words):
        attack.poison_dataset(open_source(tree), tmp_path / "out", target, rate=0.2, select=select)
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_three_attacks_with_three_targets(tree, tmp_path):
    chain = (
        (BadNets(), "stop", 3),
        (AdapBlend(), "no entry", 3),
        (TaCT(source="no entry"), "give way", 3),
    )
    place, truth = tree, tmp_path / "none"
    for number, (attack, target, count) in enumerate(chain):
        done = attack.poison_dataset(open_source(place), tmp_path / f"set{number}", target, rate=0.1, seed=number)
        assert done.poisoned == count
        place, truth = done.out, done.truth
    rows = [row for row in truth_of(truth) if row["truth"] == "poisoned"]
    assert sorted((row["attack"], row["new_class"]) for row in rows) == sorted(
        (attack.name, target) for attack, target, count in chain for _ in range(count)
    )
    found = [sample.id for sample in open_source(place).samples]
    poison = {row["output"] for row in rows}
    manifest = pa.table(
        {
            "id": found,
            "action": ["quarantined" if id in poison else "kept" for id in found],
            "new_class": ["" if id in poison else id.split("/")[0] for id in found],
            "poison_score": [float(id in poison) for id in found],
        }
    )
    counted = recovery(manifest, read_truth(truth))
    assert (counted.poisoned, counted.covers, counted.clean) == (9, 6, 15)
    assert (counted.tpr, counted.fpr) == (1, 0)


def test_a_second_attack_leaves_the_samples_of_the_first_alone(tree, tmp_path):
    BadNets().poison_dataset(open_source(tree), tmp_path / "once", "stop", rate=0.2)
    once = open_source(tmp_path / "once")
    done = Blended().poison_dataset(once, tmp_path / "twice", "no entry", rate=0.2, seed=1)
    first = {row["output"]: row for row in truth_of(tmp_path / "once.truth.parquet") if row["truth"] == "poisoned"}
    rows = truth_of(done.truth)
    by_attack = {
        name: [row for row in rows if row["attack"] == name and row["truth"] == "poisoned"]
        for name in ("badnets", "blended")
    }
    assert {name: len(found) for name, found in by_attack.items()} == {"badnets": 6, "blended": 6}
    for row in by_attack["badnets"]:
        assert row["class"] == first[row["id"]]["class"]
        assert row["new_class"] == "stop"
        assert (tmp_path / "twice" / row["output"]).read_bytes() == (tmp_path / "once" / row["id"]).read_bytes()
    assert all(row["new_class"] == "no entry" and row["id"] not in first for row in by_attack["blended"])
    assert not {row["id"] for row in last_attack(read_truth(done.truth)).to_pylist()} & first.keys()
    assert len(last_attack(read_truth(done.truth))) == len(rows) - 6
    again = BadNets().poison_dataset(once, tmp_path / "again", "no entry", rate=0.2)  # the same attack, the same seed
    assert len(last_attack(read_truth(again.truth))) == len(rows) - 6
    old = tmp_path / "old.parquet"  # as version 0.1 wrote it
    pq.write_table(pq.read_table(done.truth).drop_columns(["earlier"]), old)
    assert read_truth(old).equals(read_truth(done.truth))
    shutil.copy(done.truth, tmp_path / "once.truth.parquet")
    with pytest.raises(ElixirError, match="is about another dataset"):
        Blended().poison_dataset(once, tmp_path / "thrice", "no entry", rate=0.2)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "once.truth.parquet")
    with pytest.raises(ElixirError, match="no truth of an earlier attack"):
        Blended().poison_dataset(once, tmp_path / "thrice", "no entry", rate=0.2)
    (tmp_path / "once.truth.parquet").write_text("no truth")
    with pytest.raises(ElixirError, match="no truth of an earlier attack"):
        Blended().poison_dataset(once, tmp_path / "thrice", "no entry", rate=0.2)


def test_what_an_attack_has_learned_lies_beside_the_output(tree, tmp_path):
    @dataclass(frozen=True, kw_only=True)
    class MeanColour(BadNets):
        name = "mean-colour"

        def fit(self, source, target, progress):
            return self.with_weights({"colour": torch.full((3,), float(target))})

        def triggered(self, images, ids):
            return 0 * images + self.weights["colour"].numpy()

    register("attacks", "mean-colour")(MeanColour)
    done = MeanColour().poison_dataset(open_source(tree), tmp_path / "out", "stop", rate=0.2)
    again, target = attack_of(done.truth)
    picture = np.zeros((1, 4, 4, 3), np.uint8)
    assert target == "stop"
    assert np.array_equal(again.trigger(picture, ["a"]), picture + 2)
    assert np.array_equal(done.attack.trigger(picture, ["a"]), picture + 2)
    (tmp_path / "out.truth.parquet").unlink()
    with pytest.raises(ElixirError, match=r"out\.attack\.safetensors exists"):
        MeanColour().poison_dataset(open_source(tree), tmp_path / "out", "stop", rate=0.2)


@pytest.mark.parametrize("kind", ["parquet", "hf"])
def test_tables(kind, table, tmp_path):
    if kind == "hf":
        table.save_to_disk(tmp_path / "src-hf")
    else:
        table.to_parquet(tmp_path / "src-parquet.parquet")
    source = open_source(tmp_path / ("src-hf" if kind == "hf" else "src-parquet.parquet"))
    done = Blended().poison_dataset(source, tmp_path / "out", "stop", rate=0.2)

    poisoned = open_source(done.out)
    assert poisoned.kind == kind
    assert poisoned.classes == list(CLASSES)
    assert [row["output"] for row in truth_of(done.truth)] == [sample.id for sample in poisoned.samples]
    for index, row in enumerate(truth_of(done.truth)):
        assert CLASSES[poisoned.samples[index].label] == row["new_class"]
        assert (poisoned.read(index) == source.read(index)) == (row["truth"] == "clean")


def test_other_kinds_of_images(tmp_path):
    folder = tmp_path / "src" / "other"
    folder.mkdir(parents=True)
    (tmp_path / "src" / "stop").mkdir()
    Image.new("L", (20, 10), 100).save(folder / "grey.png")
    Image.new("RGBA", (7, 7), (1, 2, 3, 50)).save(folder / "alpha.png")
    Image.new("RGB", (50, 40), "red").save(folder / "photo.jpg")
    Image.new("RGB", (1, 1), "red").save(folder / "tiny.png")
    done = BadNets(pattern="white").poison_dataset(
        open_source("folder:" + str(tmp_path / "src")), tmp_path / "out", "stop", rate=1
    )
    written = {path.name: pixels(path) for path in (done.out / "stop").iterdir()}
    assert set(written) == {"grey.png", "alpha.png", "photo.png", "tiny.png"}
    assert (written["grey.png"].shape, written["grey.png"][9, 19]) == ((10, 20), 255)
    assert written["alpha.png"][6, 6].tolist() == [255, 255, 255, 50]
    assert written["alpha.png"][0, 0].tolist() == [1, 2, 3, 50]


def test_unreadable_samples_are_never_poisoned(tree, tmp_path):
    for name in CLASSES[:2]:
        for number in range(5):
            (tree / name / f"sign_{number:03d}.png").write_bytes(b"not an image")
    done = BadNets().poison_dataset(open_source(tree), tmp_path / "out", "stop", rate=0.33)
    for row in truth_of(done.truth):
        if (tree / row["id"]).read_bytes() == b"not an image":
            assert (row["truth"], row["output"]) == ("clean", row["id"])
        elif row["class"] != "stop":
            assert row["truth"] == "poisoned"


def test_links_out_of_the_tree_are_left_out(tree, tmp_path):
    (tmp_path / "secret.png").write_bytes((tree / "stop" / "sign_000.png").read_bytes())
    (tree / "stop" / "link.png").symlink_to(tmp_path / "secret.png")
    done = BadNets().poison_dataset(open_source(tree), tmp_path / "out", "stop")
    assert [row["output"] for row in truth_of(done.truth) if row["id"] == "stop/link.png"] == [""]
    assert not (done.out / "stop" / "link.png").exists()


def test_it_refuses_to_write_over_anything(tree, tmp_path):
    source = open_source(tree)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "known.truth.parquet").touch()
    (tmp_path / "same").symlink_to("src")
    for out, words in (
        ("src", "are the same"),
        ("same", "are the same"),
        ("src/out", "lies inside the source"),
        ("same/out", "lies inside the source"),
        ("", "lies inside the destination"),
        ("full", "exists and is not empty"),
    ):
        with pytest.raises(ElixirError, match=words):
            BadNets().poison_dataset(source, tmp_path / out, "stop")
    with pytest.raises(ElixirError, match=r"known\.truth\.parquet exists"):
        BadNets().poison_dataset(source, tmp_path / "known", "stop")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "known.truth.parquet", "same", "src"]


def test_a_target_that_is_not_there(tree, tmp_path):
    with pytest.raises(ElixirError, match="did you mean 'stop'"):
        BadNets().poison_dataset(open_source(tree), tmp_path / "out", "stopp")


def test_a_failure_leaves_nothing_behind(tree, tmp_path):
    class Broken(BadNets):
        def triggered(self, images, ids):
            raise ElixirError("broken")

    with pytest.raises(ElixirError, match="broken"):
        Broken().poison_dataset(open_source(tree), tmp_path / "out", "stop")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]
