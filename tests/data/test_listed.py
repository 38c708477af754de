"""Labels in lists: what is opened, what is refused, and that lists in an output say what is there."""

import csv
import gc
import json
import os
import posixpath
import warnings
from io import StringIO
from pathlib import Path

import datasets
import pytest

from elixir.data.files.folder import FileSource, FolderSource
from elixir.data.files.listed import ListSource, open_tree
from elixir.data.image import decode
from elixir.data.open import open_sink, open_source
from elixir.data.overlap import refuse_overlap
from elixir.data.restore import restore
from elixir.data.sink import Decision
from elixir.data.source import Source
from elixir.data.tables.table import Choice
from elixir.errors import ElixirError, UnreadableSample

from .conftest import change_some, emit, image_bytes, keep, make_tree, read_tree

NAMES = [f"{number:04d}" for number in range(12)]
CLASSES = ("cat", "dog", "owl")
HF = "file_name,label\n"


def images(folder: str = "", ending: str = "png") -> dict[str, bytes]:
    kind = "JPEG" if ending == "jpg" else "PNG"
    return {f"{folder}{name}.{ending}": image_bytes(number, kind) for number, name in enumerate(NAMES)}


def lines(text: str, header: str = HF) -> bytes:
    """A list with a row for each name; in it {n} is the name, {c} the class, {k} its number."""
    rows = [text.format(n=name, c=CLASSES[row % 3], k=row % 3) for row, name in enumerate(NAMES)]
    return (header + "".join(f"{row}\n" for row in rows)).encode()


JSONL = lines('{{"file_name": "{n}.png", "label": "{c}"}}', "")


def class_tree(ending: str = "png") -> dict[str, bytes]:
    kind = "JPEG" if ending == "jpg" else "PNG"
    return {
        f"{name}/{name}_{number}.{ending}": image_bytes(10 * label + number, kind)
        for label, name in enumerate(CLASSES)
        for number in range(4)
    }


def by_folder(text: str, header: str = HF, ending: str = "png") -> bytes:
    """A list with a row for each image of `class_tree`; in it {p} is the path, {b} the name, {c} the class."""
    rows = [
        text.format(p=path, b=posixpath.basename(path), c=path[:3], k=CLASSES.index(path[:3]))
        for path in class_tree(ending)
    ]
    return (header + "".join(f"{row}\n" for row in rows)).encode()


def decisions(**by_name: Decision):
    """These for the samples of these ids, or base names without endings; the others are kept."""

    def decide(source: Source, index: int) -> Decision:
        id = source.samples[index].id
        return by_name.get(id, by_name.get(Path(id).stem, keep(source, index)))

    return decide


def loaded(folder: Path, cache: Path) -> list[tuple[bytes, object]]:
    """What `datasets` makes of a folder: pixels and label of each image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves CSV files open
        data = datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(cache))
        gc.collect()
    assert isinstance(data, datasets.DatasetDict)
    (split,) = data.values()
    return [
        (image.convert("RGB").tobytes(), label) for image, label in zip(split["image"], split["label"], strict=True)
    ]


def rows_of(path: Path) -> list[dict[str, str]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return list(csv.DictReader(StringIO(path.read_text())))


OPENED = {
    "beside images": (images() | {"metadata.csv": lines("{n}.png,{c}")}, {}),
    "one folder": (images("images/") | {"metadata.csv": lines("images/{n}.png,{c}")}, {}),
    "folder not told": (images("images/") | {"labels.csv": lines("{n}.png,{c}", "name,class\n")}, {}),
    "folder below": (images("data/images/") | {"data/metadata.csv": lines("images/{n}.png,{c}")}, {}),
    "labels folder": (images("images/") | {"labels/all.csv": lines("../images/{n}.png,{c}", "path,label\n")}, {}),
    "split": (images("train/") | images("test/") | {"train/metadata.jsonl": JSONL}, {"split": "train"}),
    "two in splits": (
        images("train/") | images("test/") | {"train/metadata.jsonl": JSONL, "test/metadata.jsonl": JSONL},
        {"split": "train"},
    ),
    "kaggle": (
        images("train_images/") | images("test_images/") | {"train.csv": lines("{n},{c}", "image_id,label\n")},
        {},
    ),
    "one list of two splits": (
        images("val/") | images("Train/") | {"x.csv": lines("val/{n}.png,{c}") + lines("Train/{n}.png,{c}", "")},
        {"split": "train"},
    ),
    "kaggle split": (
        images("train_images/")
        | images("test_images/")
        | {
            "train.csv": lines("{n},{c}", "image_id,label\n"),
            "sample_submission.csv": lines("{n},cat", "image_id,label\n"),
        },
        {"split": "train"},
    ),
    "named columns": (
        images("a/") | {"x.csv": lines("{n}.png,other,{c}", "Photo,label,what\n")},
        {"label": "what", "image": "Photo"},
    ),
    "tabs": (images("images/") | {"x.tsv": lines("images/{n}.png\t{c}", "Image Path\tSpecies\n")}, {}),
    "windows": (images("images/") | {"x.csv": lines("images\\{n}.png;{c}", "\ufeffpath;label\n")}, {}),
    "recorded above": (images("images/") | {"x.csv": lines("set/images/{n}.png,{c}", "path,label\n")}, {}),
    "numbers beside": (images() | {"x.csv": lines("{k},{n}.png,{c}", ",path,label\n")}, {}),
    "json array": (images() | {"x.json": json.dumps([json.loads(line) for line in JSONL.splitlines()]).encode()}, {}),
    "spaces": (images() | {"x.csv": lines("{n}.png, {c} ", "path, label\n")}, {}),
}


@pytest.mark.parametrize("case", OPENED)
def test_opened(tmp_path: Path, case: str) -> None:
    files, options = OPENED[case]
    src = make_tree(tmp_path / "src", files)
    source = open_source(src, **options)
    assert isinstance(source, ListSource)
    assert (source.kind, source.classes, len(source.samples)) == ("list", list(CLASSES), 12)
    for row, (sample, name) in enumerate(zip(source.samples, NAMES, strict=True)):
        assert (Path(sample.id).stem, sample.label, sample.problem) == (name, row % 3, None)
        assert source.read(row) == (src / sample.id).read_bytes() == image_bytes(row)
    assert source.notes[0].startswith("the labels are those of ")
    unseen = [note for note in source.notes if note.endswith(", …)")]
    assert len(unseen) == (sum(path.endswith(".png") for path in files) > 12)
    emit(source, "list", tmp_path / "same")
    assert read_tree(tmp_path / "same") == read_tree(src)
    outputs = emit(source, "list", tmp_path / "dst", change_some(1))
    restore(tmp_path / "dst", tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(src)
    again = open_source(tmp_path / "dst", **options)
    there = {output: row for row, output in enumerate(outputs) if output}
    assert {sample.id for sample in again.samples} == set(there)
    decide = change_some(1)
    for row, sample in enumerate(again.samples):
        decision = decide(source, there[sample.id])
        assert again.classes[sample.label] == source.classes[decision.label]
        assert again.read(row) == (decision.data or source.read(there[sample.id]))


REFUSED = {
    "one list of two splits": (
        images("val/") | images("Train/") | {"x.csv": lines("val/{n}.png,{c}") + lines("Train/{n}.png,{c}", "")},
        r"the folders Train, val of \S+ are splits, listed in x.csv; give `elixir sanitize \S+ --split Train -o",
    ),
    "splits": (
        images("train/") | {"train/metadata.jsonl": JSONL},
        r"train of \S+ are splits, listed in train/metadata.jsonl; give `elixir sanitize \S+ --split train -o",
    ),
    "several": (
        images() | {"a.csv": lines("{n}.png,{c}"), "b.csv": lines("{n}.png,x")},
        r"lists in .* \(a.csv, b.csv\); give one, as list:\S+/a.csv or list:\S+/b.csv, or the folder of a split",
    ),
    "no label": (
        images() | {"a.csv": lines("{n}.png,{c}", "file_name,kind\n")},
        "but no class folders; .*; cannot tell which .* --label",
    ),
    "no header": (
        images() | {"a.csv": lines("{n}.png,{c}", "")},
        "first line of a.csv names a file.*put a line with their",
    ),
    "nothing": (
        images() | {"a.csv": lines("x{n}.png,{c}")},
        "no column of a.csv has the paths .* its columns: file_name, label",
    ),
    "two columns": (
        images() | {"a.csv": lines("{n}.png,{n}.png,{c}", "one,two,label\n")},
        r"name images \(one, two\); name one",
    ),
    "floats": (images() | {"a.csv": lines("{n}.png,{k}.5")}, "holds numbers that are no classes .*--label"),
    "no labels": (images() | {"a.csv": lines("{n}.png,-1")}, "holds no labels"),
    "lists": (images() | {"a.jsonl": JSONL.replace(b'"cat"', b'["cat"]')}, "holds lists or objects"),
    "twice": (
        images() | {"a.csv": lines("{n}.png,{c}") + b"0001.png,owl\n"},
        "line 3 and line 14 of a.csv give 0001.png the labels 'dog' and 'owl'; leave one",
    ),
    "which folder": (
        images("a/images/") | images("a/masks/") | {"a/x.csv": lines("{n},{c}", "image_id,label\n")},
        r"a/x.csv names files that are there more than once \(a/images/0000.png or a/masks/0000.png\); write",
    ),
    "damaged": (
        images() | {"a.csv": lines("{n}.png,{c}") + b'x,"y'},
        "; a.csv, line 14, cannot be understood as CSV",
    ),
    "none": (images() | {"a.csv": b""}, "a.csv is empty"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path: Path, case: str) -> None:
    files, message = REFUSED[case]
    with pytest.raises(ElixirError, match=message):
        open_source(make_tree(tmp_path, files))


def test_options_for_lists(tmp_path: Path) -> None:
    make_tree(tmp_path, images() | {"a.csv": lines("{n}.png,{c}")})
    with pytest.raises(
        ElixirError, match=r"a.csv has no column 'x', which --label names; its columns: file_name, label"
    ):
        open_source(tmp_path, label="x")
    with pytest.raises(ElixirError, match="has no column 'y', which --image names"):
        open_source(tmp_path / "a.csv", image="y")
    with pytest.raises(ElixirError, match="a list, which has no splits; leave out --split"):
        open_source(tmp_path / "a.csv", split="train")


def test_hostile_rows(tmp_path: Path) -> None:
    """Nothing outside of the folder is read, and every id is a path inside of it."""
    secret = make_tree(tmp_path, {"secret.png": image_bytes(99), "a\\b.png": b""}) / "secret.png"
    bad = [
        str(secret),
        "../secret.png",
        "x/../../secret.png",
        "..",
        "a" * 5000,
        "b" * 300,
        "C:\\secret.png",
        "gone.png",
    ]
    bad += ["file:///secret.png", "nul\0.png", "-1", "💥"]
    rows = [{"file_name": name, "label": 1} for name in bad] + [
        json.loads(line) | {"label": 2} for line in JSONL.splitlines()
    ]
    rows += [{"file_name": None, "label": 7}, {"file_name": "0000.png", "label": None}, {"label": 2}]
    files = images() | {"a.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()}
    src = make_tree(tmp_path / "src", files)
    (src / "0003.png").unlink()
    (src / "0003.png").symlink_to(secret)
    source = open_source(src, image="file_name")  # as most rows are none
    lost = [sample for sample in source.samples if sample.problem]
    assert len(lost) == len(bad) + 1
    assert len({sample.id for sample in source.samples}) == len(source.samples) == len(bad) + 12
    for index, sample in enumerate(source.samples):
        assert sample.id.encode()
        assert not posixpath.isabs(sample.id)
        assert ".." not in sample.id.split("/")
        assert len(sample.id) < 400
        assert "\0" not in sample.id
        if sample.problem:
            with pytest.raises(UnreadableSample):
                source.read(index)
    emit(source, "list", tmp_path / "dst")
    assert read_tree(tmp_path / "dst").keys() == read_tree(src).keys() - {"0003.png"}
    texts = [row.get("file_name") for row in rows_of(tmp_path / "dst/a.jsonl")]
    assert texts == [f"{name}.png" for name in NAMES if name != "0003"] + [None, "0000.png", None]
    restore(tmp_path / "dst", tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(src)
    assert (tmp_path / "out/0003.png").readlink() == secret


@pytest.mark.skipif(os.name != "posix", reason="other systems refuse such names")
def test_names_that_are_not_utf8_or_composed(tmp_path: Path) -> None:
    names = {
        os.fsdecode(b"caf\xe9.png"): b"caf\xe9.png",
        "e\u0301.png": "\u00e9.png".encode(),
        "a,b\n.png": b'"a,b\n.png"',
    }
    data = b"path,label\n" + b"".join(name + b",%d\n" % row for row, name in enumerate(names.values()))
    src = make_tree(tmp_path / "src", {name: image_bytes(row) for row, name in enumerate(names)} | {"l.csv": data})
    source = open_source(src)
    assert [sample.label for sample in source.samples] == [0, 1, 2]
    assert [source.read(row) for row in range(3)] == [image_bytes(row) for row in range(3)]
    emit(
        source, "list", tmp_path / "dst", lambda source, index: Decision("relabelled", 2 - source.samples[index].label)
    )
    assert (tmp_path / "dst/l.csv").read_bytes() == b'path,label\ncaf\xe9.png,2\n\xc3\xa9.png,1\n"a,b\n.png",0\n'


def test_integer_labels_and_none(tmp_path: Path) -> None:
    data = b"path,label,name\n" + b"".join(
        b"%s.png,%s,%s\n" % (name.encode(), label, text)
        for name, label, text in zip(
            NAMES,
            [b"10", b"9", b"-1", b"", b"9", b"10"] * 2,
            [b"ten", b"nine", b"?", b"", b"nine", b"ten"] * 2,
            strict=True,
        )
    )
    source = open_source(make_tree(tmp_path / "src", images() | {"labels.csv": data}))
    assert source.classes == ["9", "10"]
    assert source.notes[-1] == "4 of 12 images have no label"
    assert [sample.label for sample in source.samples] == [1, 0, -1, -1, 0, 1] * 2
    decide = decisions(**{"0000": Decision("relabelled", 0), "0001": Decision("purified", 0, image_bytes(50))})
    emit(source, "list", tmp_path / "dst", decide)
    rows = rows_of(tmp_path / "dst/labels.csv")
    assert [row["label"] for row in rows] == ["9", "9", "-1", "", "9", "10", "10", "9", "-1", "", "9", "10"]
    assert [row["name"] for row in rows][:6] == ["nine", "nine", "?", "", "nine", "ten"]


def test_list_alone(tmp_path: Path) -> None:
    extra = {"other/a.png": image_bytes(70), "notes.txt": b"0000.png", "images/b.png": image_bytes(71)}
    src = make_tree(tmp_path / "src", images("images/") | extra | {"lists/l.csv": lines("images/{n}.png,{c}")})
    for place in ("labels.csv", "lists/l.csv"):
        make_tree(src, {place: lines("images/{n}.png,{c}")})
        source = open_source(src / place)
        assert isinstance(source, ListSource)
        assert len(source.samples) == 12
        assert any(note.startswith(f"only {place} and the images") for note in source.notes)
        dst, out = tmp_path / f"dst-{place[0:2]}{len(place)}", tmp_path / f"out-{len(place)}"
        emit(source, "list", dst, change_some(2))
        restore(dst, out)
        wanted = images("images/") | {place: lines("images/{n}.png,{c}")}
        assert {path: data for path, data in read_tree(out).items() if data is not None} == wanted
        named = {row["file_name"] for row in rows_of(dst / place)}
        assert named == {path for path in read_tree(dst) if path.endswith(".png")}
        (dst / place).unlink()
    source = open_source(src / "lists/l.csv")
    refuse_overlap(source, src / "clean")
    for place in (src / "images/x", src / "lists/l.csv"):
        with pytest.raises(ElixirError):
            refuse_overlap(source, place)


def test_list_alone_that_leads_nowhere(tmp_path: Path) -> None:
    make_tree(
        tmp_path, images("a/") | {"b/c/l.csv": lines("../../a/{n}.png,{c}"), "b/d/l.csv": lines("/a/{n}.png,{c}")}
    )
    for place in ("b/c/l.csv", "b/d/l.csv"):
        with pytest.raises(ElixirError, match=r"l.csv has the paths of images in its folder"):
            open_source(tmp_path / place)
        with pytest.raises(ElixirError, match="write their paths from there"):
            open_source(tmp_path / place, image="file_name")


@pytest.mark.parametrize("kind", ["folder", "hf", "parquet"])
def test_other_kinds(tmp_path: Path, kind: str) -> None:
    files = images("images/") | {"images/more/0000.png": image_bytes(80), "notes.txt": b"x"}
    files["metadata.csv"] = lines("images/{n}.png,{c}") + b"images/more/0000.png,cat\n"
    src = make_tree(tmp_path / "src", files)
    source = open_source(src)
    outputs = emit(source, kind, tmp_path / "dst", change_some(5))  # type: ignore[arg-type]
    if kind == "folder":
        decide = change_some(5)
        wanted = {
            (CLASSES[decision.label], decision.data or source.read(index))
            for index in range(13)
            if (decision := decide(source, index)).written
        }
        there = read_tree(tmp_path / "dst")
        assert {(path.split("/")[0], data) for path, data in there.items() if data} == wanted
        assert set(filter(None, outputs)) == {path for path, data in there.items() if data}
    restore(tmp_path / "dst", tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(src)


def test_to_list_needs_a_list(tmp_path: Path) -> None:
    source = open_source(make_tree(tmp_path / "src", class_tree()))
    with pytest.raises(ElixirError, match=r"has no list of its images .*--to folder, hf or parquet"):
        open_sink("list", tmp_path / "dst", source)


@pytest.mark.parametrize(("row", "new"), [("images/{n}.jpg,{c}", "images/0000-1.png"), ("{n}.jpg,{c}", "0000-1.png")])
def test_repaired_images_get_their_ending(tmp_path: Path, row: str, new: str) -> None:
    others = {"images/0000.png": image_bytes(60), "images/x/0001.png": image_bytes(61)}
    src = make_tree(tmp_path / "src", images("images/", "jpg") | others | {"metadata.csv": lines(row)})
    png = image_bytes(62)
    decide = decisions(**{"0000": Decision("purified", 0, png), "0001": Decision("relabelled", 2, png)})
    outputs = emit(open_source(src), "list", tmp_path / "dst", decide)
    second = "0001.png" if "images" in row else "0001-1.png"  # by name alone it would be two images
    assert outputs[:3] == ["images/0000-1.png", f"images/{second}", "images/0002.jpg"]
    assert rows_of(tmp_path / "dst/metadata.csv")[:3] == [
        {"file_name": new, "label": "cat"},
        {"file_name": new.replace("0000-1.png", second), "label": "owl"},
        {"file_name": new.replace("0000-1.png", "0002.jpg"), "label": "owl"},
    ]
    assert (tmp_path / "dst/images/0000-1.png").read_bytes() == png
    restore(tmp_path / "dst", tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(src)


def test_datasets_load_what_was_written(tmp_path: Path) -> None:
    """A list source in, and what `datasets` makes of the output is what was decided."""
    src = make_tree(tmp_path / "src", images("train/", "jpg") | {"train/metadata.jsonl": JSONL.replace(b"png", b"jpg")})
    source, decide = open_source(src, split="train"), change_some(4)
    emit(source, "list", tmp_path / "dst", decide)
    wanted = [
        (decode(decision.data or source.read(index)).rgb.tobytes(), source.classes[decision.label])
        for index in range(12)
        if (decision := decide(source, index)).written
    ]
    assert 0 < len(wanted) < 12
    assert sorted(loaded(tmp_path / "dst", tmp_path / "cache")) == sorted(wanted)


BESIDE = {
    "names": ({"metadata.csv": by_folder("{p},{c}")}, True),
    "numbers": ({"metadata.csv": by_folder("{p},{k}")}, True),
    "jsonl": ({"metadata.jsonl": by_folder('{{"file_name": "{p}", "label": "{c}", "of": "{k}"}}', "")}, True),
    "by name": ({"lists/all.csv": by_folder("{b},{c}", "name,class\n")}, False),
    "by stem": ({"all.csv": by_folder("{b},{c}", "id,class\n").replace(b".png", b"")}, False),
    "no label": ({"all.csv": by_folder("{p},{k}", "path,size\n")}, False),
    "part": (
        {"part.csv": b"path,label\ncat/cat_0.png,x\ndog/dog_1.png,y\nowl/owl_1.png,z\ngone.png,z\ncat/cat_1.png,\n"},
        False,
    ),
    "each folder": (
        {
            f"{name}/metadata.csv": HF.encode()
            + b"".join(b"%s_%d.png,%s\n" % (name.encode(), row, name.encode()) for row in range(4))
            for name in CLASSES
        },
        True,
    ),
    "two": ({"metadata.csv": by_folder("{p},{c}"), "more/x.csv": by_folder("../{p},{k}", "path,y\n")}, True),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", BESIDE)
def test_lists_beside_class_folders(tmp_path: Path, case: str, seed: int) -> None:
    """Whatever is decided, each list says what is in the output, and restoring gives back all bytes."""
    lists, hf = BESIDE[case]
    src = make_tree(tmp_path / "src", class_tree() | lists)
    source, decide = open_source(src), change_some(seed)
    assert isinstance(source, FolderSource)
    assert len(source.lists) == len(lists)
    outputs = emit(source, "folder", tmp_path / "dst", decide)
    check_lists(source, outputs, tmp_path / "dst", decide)
    restore(tmp_path / "dst", tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(src)
    for place in lists:
        assert (tmp_path / "dst/.elixir/originals" / place).read_bytes() == lists[place]
    if hf and not seed:
        values = {label: value for listed in reversed(source.lists) for label, value in listed.values.items()}
        wanted = [
            (decode(decision.data or source.read(index)).rgb.tobytes(), str(values[decision.label]))
            for index in range(12)
            if (decision := decide(source, index)).written
        ]
        found = loaded(tmp_path / "dst", tmp_path / "cache")
        assert sorted((pixels, str(label)) for pixels, label in found) == sorted(wanted)


def check_lists(source: FileSource, outputs: list[str], dst: Path, decide) -> None:
    """The rows of each list are those of the source for what is in the output, with its paths and labels there."""
    for listed in source.lists:
        ids = [sample.id for sample in source.samples]
        wanted = []
        for row, file in zip(listed.file.rows, listed.meaning.files, strict=True):
            values = dict(row.values)
            if file is not None:
                decision, output = decide(source, ids.index(file)), outputs[ids.index(file)]
                if not output:
                    continue
                folder = posixpath.dirname(listed.place)
                values[listed.path] = {
                    "path": posixpath.relpath(output, folder or "."),
                    "name": posixpath.basename(output),
                    "stem": posixpath.basename(output)[:-4],
                }[listed.meaning.how]
                if posixpath.dirname(listed.place) in CLASSES:
                    continue  # such rows go from one list to another; datasets says whether they are right
                if listed.label and decision.label != source.samples[ids.index(file)].label:
                    values[listed.label] = listed.values[decision.label]
                values |= {name: known[decision.label] for name, known in listed.dependent.items()}
            wanted.append(values)
        if posixpath.dirname(listed.place) not in CLASSES:
            assert rows_of(dst / listed.place) == wanted


CONTRADICTIONS = {
    "one row": (
        by_folder("{p},{c}").replace(b"dog_2.png,dog", b"dog_2.png,cat"),
        "line 8, column 'label', says 'cat' of dog/dog_2.png, and 'dog' of other images in dog",
    ),
    "all one": (by_folder("{p},x"), "line 6, column 'label', says 'x' of dog/dog_0.png, and the same of images in cat"),
    "finer": (
        by_folder("{p},{b}"),
        "line 3, column 'label', says 'cat_1.png' of cat/cat_1.png, and 'cat_0.png' of other",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_contradictions_are_refused(tmp_path: Path, case: str) -> None:
    data, message = CONTRADICTIONS[case]
    src = make_tree(tmp_path / "src", class_tree() | {"metadata.csv": data})
    with pytest.raises(
        ElixirError,
        match=rf"metadata.csv contradict the class folders: metadata.csv, {message}.*list:\S+metadata.csv -o DST",
    ):
        open_source(src)
    by_folders = open_tree(src, Choice(), trusted=True)
    assert by_folders.notes[-1].startswith("other labels stand in metadata.csv, and were not used: ")
    sink_notes = notes_of(by_folders, tmp_path / "dst", decisions(cat_1=Decision("dropped", 0)))
    assert sink_notes == [NAMES_GONE.format("metadata.csv names or goes", "it is")]
    assert "metadata.csv" not in read_tree(tmp_path / "dst")
    if case == "one row":
        by_list = open_source(src / "metadata.csv")
        assert by_list.samples[6].id == "dog/dog_2.png"
        assert by_list.classes[by_list.samples[6].label] == "cat"


NAMES_GONE = "{} with images that have moved, changed their label or gone: {} in .elixir/originals and not here"


def notes_of(source: Source, dst: Path, decide) -> list[str]:
    """What the sink has to say."""
    sink = open_sink(source.kind, dst, source)
    for index in range(len(source.samples)):
        sink.write(index, decide(source, index))
    sink.close()
    return sink.notes


def test_notes_of_rewritten_lists(tmp_path: Path) -> None:
    src = make_tree(tmp_path / "src", class_tree() | {"metadata.csv": by_folder("{p},{c}")})
    decide = decisions(cat_1=Decision("dropped", 0), cat_2=Decision("relabelled", 1), owl_0=Decision("quarantined", 2))
    assert notes_of(open_source(src), tmp_path / "dst", decide) == [
        "1 rows of metadata.csv are changed and 2 taken out, as their images are; "
        "the list as it was is in .elixir/originals"
    ]


def test_untouched_files_are_copied(tmp_path: Path) -> None:
    """Repaired images of the same name change no list."""
    files = {"metadata.csv": by_folder("{p},{c}"), "labels.txt": by_folder("{p} {k}", "")}
    src = make_tree(tmp_path / "src", class_tree() | files)
    for number, decide in enumerate((keep, decisions(cat_1=Decision("purified", 0, image_bytes(90))))):
        assert notes_of(open_source(src), tmp_path / f"dst{number}", decide) == []
        there = read_tree(tmp_path / f"dst{number}")
        assert {path: there[path] for path in files} == files
        assert not (tmp_path / f"dst{number}/.elixir/originals/metadata.csv").exists()


MENTIONS = {
    "train.txt": "cat/cat_1.png 0\n",
    "bare.txt": "cat_1.png",
    "stems.txt": "x\ncat_1\n",
    "coco.json": '{"images": [{"file_name": "cat\\/cat_1.png"}]}',
    "windows.json": json.dumps({"a": "C:\\data\\cat\\cat_1.png"}),
    "annotations/a.xml": "<folder>cat</folder><filename>cat_1.png</filename>",
    "a.yaml": "- ./cat/cat_1.png",
    "a.cache": "[cat/cat_1.png]",
    "cat/cat_1.json": "{}",
    "cat/cat_1.txt": "a cat",
    "utf8.txt": "cat_1.png \udcff",
}
OTHERS = {
    "README.md": "# cats\n",
    "classes.txt": "cat\ndog\n1\n",
    "other.txt": "cat/cat_10.png xcat_1.png cat_11 dog/cat_1.png",
    "binary.bin": "\0cat/cat_1.png",
    "cat/cat_2.txt": "cat_1.png",
    ".git/log": "cat/cat_1.png",
    "image.txt": "owl/owl_1.png",
}


def test_files_that_name_changed_images(tmp_path: Path) -> None:
    files = {path: text.encode("utf-8", "surrogateescape") for path, text in (MENTIONS | OTHERS).items()}
    src = make_tree(tmp_path / "src", class_tree() | files)
    for number, decision in enumerate((Decision("dropped", 0), Decision("relabelled", 1), Decision("quarantined", 0))):
        dst = tmp_path / f"dst{number}"
        emit(open_source(src), "folder", dst, decisions(cat_1=decision))
        there = read_tree(dst)
        assert {path for path in files if path not in there} == set(MENTIONS)
        for path in MENTIONS:
            assert (dst / ".elixir/originals" / path).read_bytes() == files[path]
        restore(dst, tmp_path / f"out{number}")
        assert read_tree(tmp_path / f"out{number}") == read_tree(src)
    (note,) = notes_of(open_source(src), tmp_path / "again", decisions(cat_1=Decision("dropped", 0)))
    assert note.startswith(
        "a.cache, a.yaml, annotations/a.xml, bare.txt, cat/cat_1.json and 6 more files name or go with images that"
    )


def test_files_of_another_split_are_left_alone(tmp_path: Path) -> None:
    files = {f"{split}/{path}": data for split in ("train", "test") for path, data in class_tree().items()}
    texts = {
        "test/list.txt": b"cat/cat_1.png",
        "test.txt": b"cat_1.png",
        "train.txt": b"cat_1.png",
        "a.txt": b"test/cat/cat_1.png",
    }
    src = make_tree(
        tmp_path / "src",
        files | texts | {"test/metadata.csv": by_folder("{p},{c}"), "train/metadata.csv": by_folder("{p},{c}")},
    )
    emit(open_source(src, split="train"), "folder", tmp_path / "dst", decisions(cat_1=Decision("dropped", 0)))
    there = read_tree(tmp_path / "dst")
    assert there.keys() ^ read_tree(src).keys() == {"train/cat/cat_1.png", "train.txt"}
    assert there["test/metadata.csv"] == by_folder("{p},{c}")
    assert there["train/metadata.csv"] == by_folder("{p},{c}").replace(b"cat/cat_1.png,cat\n", b"")
    restore(tmp_path / "dst", tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(src)


def test_lists_that_cannot_be_rewritten_are_set_aside(tmp_path: Path) -> None:
    files = class_tree("jpg") | {"owl/cat_1.png": image_bytes(77)}
    one = HF.encode() + b"cat_0.jpg,cat\ncat_1.jpg,cat\n"
    decided = {
        "by_name.csv": (
            by_folder("{b},{c}", "name,label\n", "jpg"),
            Decision("purified", 0, image_bytes(1)),
            "stand for several images",
        ),
        "cats.csv": (
            one.replace(b"cat_", b"cat/cat_"),
            Decision("relabelled", 1),
            "column 'label' does not tell what it calls the new label of cat/cat_1.jpg",
        ),
        "cat/names.csv": (
            one.replace(b"label", b"size"),
            Decision("relabelled", 1),
            "no list is there for the new folder of cat/cat_1.jpg",
        ),
    }
    for number, (place, (data, decision, why)) in enumerate(decided.items()):
        src = make_tree(tmp_path / f"src{number}", files | {place: data})
        (note,) = notes_of(open_source(src), tmp_path / f"dst{number}", decisions(**{"cat/cat_1.jpg": decision}))
        assert note.startswith(f"{place} is in .elixir/originals and not here: ")
        assert why in note
        assert (tmp_path / f"dst{number}/.elixir/originals" / place).read_bytes() == data
        assert place not in read_tree(tmp_path / f"dst{number}")


def test_relabelled_in_a_list_sets_other_labels_aside(tmp_path: Path) -> None:
    """The image stays where it is, but what else tells its label is of yesterday."""
    files = images("images/") | {
        "metadata.csv": lines("images/{n}.png,{c}"),
        "list.txt": b"images/0001.png dog",
        "images/0001.txt": b"a dog",
    }
    src = make_tree(tmp_path / "src", files)
    notes = notes_of(open_source(src), tmp_path / "dst", decisions(**{"0001": Decision("relabelled", 0)}))
    assert notes[-1] == NAMES_GONE.format("images/0001.txt, list.txt name or go", "they are")
    assert b"images/0001.png,cat\n" in (tmp_path / "dst/metadata.csv").read_bytes()
