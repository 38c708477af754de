"""WebDataset shards: read as webdataset reads them, written so that it reads them again, and back byte for byte."""

import gc
import hashlib
import io
import json
import os
import tarfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from webdataset.compat import WebDataset
from webdataset.writer import TarWriter

from elixir.data.image import decode
from elixir.data.open import open_sink, open_source
from elixir.data.overlap import refuse_overlap
from elixir.data.patterns import expand_braces
from elixir.data.restore import restore
from elixir.data.shards.tar import members
from elixir.data.shards.webdataset import WebDatasetSource
from elixir.data.sink import Decision
from elixir.data.source import Source
from elixir.errors import ElixirError, UnreadableSample

from .conftest import change_some, emit, image_bytes, make_tree, read_tree, table

PNG = image_bytes(100)
JPEGS = [image_bytes(seed, "JPEG") for seed in range(6)]

Members = Iterable[tuple[str, bytes]]


def write_shard(file: Path, content: Members, kind: int = tarfile.PAX_FORMAT) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w", format=kind) as archive:
        for name, data in content:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1700000000
            archive.addfile(info, io.BytesIO(data))
    return file


def samples(count: int = 6, start: int = 0, classes: int = 3) -> list[tuple[str, bytes]]:
    """An image, a label and a field that nobody knows for each key."""
    found = []
    for key in range(start, start + count):
        found += [(f"{key:04d}.jpg", JPEGS[key % len(JPEGS)]), (f"{key:04d}.cls", b"%d" % (key % classes))]
        found += [(f"{key:04d}.txt", b"number %d" % key)]
    return found


def read_shard(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive if info.isreg()}  # type: ignore[union-attr]


def open_shards(src: Any, **options: Any) -> WebDatasetSource:
    source = open_source(src, **options)
    assert isinstance(source, WebDatasetSource)
    return source


def with_webdataset(files: Iterable[Path], decode: Callable[[Any], Any] = lambda read: read) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset closes no files
        found = list(decode(WebDataset([str(file) for file in files], shardshuffle=False, empty_check=False)))
        gc.collect()
    return found


def labels(source: Source) -> list[int]:
    return [sample.label for sample in source.samples]


def decisions(*answers: Decision):
    """One for each sample, in order."""
    return lambda source, index: answers[index]


# What is read


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shard(tmp_path / "src/train-000000.tar", samples())
    write_shard(tmp_path / "src/train-000001.tar", samples(4, 6))
    return tmp_path / "src"


@pytest.mark.parametrize("how", ["folder", "file", "glob", "braces", "both", "upper"])
def test_shards_are_found(shards: Path, how: str) -> None:
    names = {"folder": "", "file": "train-000000.tar", "glob": "*.tar", "both": "train-*{0..1}.tar"}
    if how == "upper":
        (shards / "train-000000.tar").rename(shards / "a.TAR")
    place = {"braces": "train-{000000..000001}.tar", "upper": "a.TAR"}.get(how) or names[how]
    source = open_shards(shards / place)
    count = 6 if how in ("file", "upper") else 10
    assert (source.kind, source.classes, source.image, source.label) == ("webdataset", ["0", "1", "2"], "jpg", "cls")
    assert labels(source) == [key % 3 for key in range(count)]
    assert [source.read(row) for row in range(count)] == [JPEGS[key % 6] for key in range(count)]
    assert source.samples[5].id == f"{'a' if how == 'upper' else 'train-000000'}/0005"
    assert source.samples[5].name == "0005"


def test_what_webdataset_writes_is_read(tmp_path: Path) -> None:
    with TarWriter(str(tmp_path / "a.tar")) as writer:
        for key in range(12):
            writer.write({"__key__": f"deep/er.v2/{key}", "png": image_bytes(key), "cls": key, "json": {"a": key}})
    source = open_shards(tmp_path / "a.tar")
    assert source.classes == [str(key) for key in range(12)]  # as numbers: 10 is behind 9
    assert [source.read(row) for row in (0, 11)] == [image_bytes(0), image_bytes(11)]
    assert (source.samples[11].id, source.samples[11].name) == ("a/deep/er.v2/11", "11")
    read = with_webdataset([tmp_path / "a.tar"])
    assert [f"a/{sample['__key__']}" for sample in read] == [sample.id for sample in source.samples]


def test_keys_are_grouped_as_webdataset_does(tmp_path: Path) -> None:
    names = ["./a.b.JPG", "./a.cls", "c.d/e.jpg", "c.d/e.cls", "é\udce9.jpg", "é\udce9.cls", "README", "x/.hidden"]
    content = [(name, b"1" if name.endswith("cls") else JPEGS[0]) for name in names]
    source = open_shards(write_shard(tmp_path / "a.tar", content, tarfile.GNU_FORMAT), image="jpg;b.jpg")
    read = with_webdataset([tmp_path / "a.tar"])
    groups = [(sample["__key__"], {name for name in sample if not name.startswith("__")}) for sample in read]
    assert groups[:3] == [("./a", {"b.jpg", "cls"}), ("c.d/e", {"jpg", "cls"}), ("é\udce9", {"jpg", "cls"})]
    assert groups[3:] == [("x/", {"hidden"})]
    assert [sample.id for sample in source.samples] == ["a/./a", "a/c.d/e", "a/é\\xe9", "a/x/"]
    assert [sample.problem for sample in source.samples] == [None, None, None, "no image is stored"]
    assert any("README" in note for note in source.notes)


def test_missing_images_and_labels_are_samples(tmp_path: Path) -> None:
    content = [
        ("1.jpg", JPEGS[0]),
        ("2.jpg", JPEGS[1]),
        ("2.cls", b" 4\n"),
        ("3.cls", b"4"),
        ("4.jpg", b""),
        ("4.cls", b""),
    ]
    source = open_shards(write_shard(tmp_path / "a.tar", content))
    assert [(sample.label, sample.problem) for sample in source.samples] == [
        (-1, None),
        (0, None),
        (0, "no image is stored"),
        (-1, None),
    ]
    with pytest.raises(UnreadableSample, match="no image"):
        source.read(2)
    assert any(note == "2 of 4 samples have no label and are set aside" for note in source.notes)


def test_the_image_field(tmp_path: Path) -> None:
    def shard(*fields: str) -> Path:
        return write_shard(tmp_path / "a.tar", [("1.cls", b"0"), *((f"1.{name}", JPEGS[0]) for name in fields)])

    assert open_shards(shard("seg.png", "jpg", "npy")).image == "jpg"
    assert any("npy, seg.png" in note for note in open_source(tmp_path / "a.tar").notes)
    assert open_shards(shard("rgb.webp", "npy")).image == "rgb.webp"
    assert open_shards(shard("jpg", "png"), image="png").image == "png"
    assert open_shards(shard("data"), image="DATA").image == "data"
    with pytest.raises(ElixirError, match=r"images in jpg and png for the key '1'; name the one .* --image"):
        open_source(shard("jpg", "png"))
    with pytest.raises(ElixirError, match=r"no member that is an image by its name; name the field .* --image"):
        open_source(shard("data"))
    mixed = [("1.jpg", JPEGS[0]), ("1.cls", b"0"), ("2.seg.png", PNG), ("2.cls", b"0")]
    assert open_shards(write_shard(tmp_path / "a.tar", mixed)).image == "jpg"
    assert [sample.problem for sample in open_source(tmp_path / "a.tar").samples] == [None, "no image is stored"]
    assert open_shards(tmp_path / "a.tar", image="jpg;seg.png").read(1) == PNG
    assert open_shards(tmp_path / "a.tar", image="jpg").samples[1].problem
    formats = [("1.jpg", JPEGS[0]), ("1.cls", b"0"), ("2.png", PNG), ("2.cls", b"0")]
    assert open_shards(write_shard(tmp_path / "a.tar", formats)).image == "jpg;png"


def labelled(*fields: tuple[str, bytes]) -> list[tuple[str, bytes]]:
    return [
        member
        for row, (name, data) in enumerate(fields)
        for member in ((f"{row}.jpg", JPEGS[row]), (f"{row}.{name}", data))
    ]


@pytest.mark.parametrize(
    ("field", "values", "options", "classes", "expected"),
    [
        ("cls", [b"10", b"9", b"010"], {}, ["9", "10"], [1, 0, 1]),
        ("cls", [b"2", b"-1", b"\xff", b"3"], {}, ["2", "3"], [0, -1, -1, 1]),
        ("cls", [b"stop", b"go", b"stop"], {}, ["go", "stop"], [1, 0, 1]),
        ("cls.txt", [b"b", b"a", b"7"], {"label": "cls.txt"}, ["7", "a", "b"], [2, 1, 0]),
        ("json", [b'{"y": 1.0}', b'{"y": 2}', b'{"y": NaN}'], {}, ["1", "2"], [0, 1, -1]),
        ("txt", ["stóp ".encode(), b"", b"go"], {"label": "txt"}, ["go", "stóp"], [1, -1, 0]),
        ("json", [b'{"label": 3}', b'{"label": null}', b"[]"], {}, ["3"], [0, -1, -1]),
        ("json", [b'{"label": "b", "y": 1}', b'{"label": "a"}', b"{"], {"label": "json:label"}, ["a", "b"], [1, 0, -1]),
        ("json", [b'{"x": true}', b'{"x": false}', b'{"y": 1}'], {"label": "json:x"}, ["False", "True"], [1, 0, -1]),
        ("meta.json", [b'{"category": 3}', b'{"category": 2}', b"{}"], {"label": "meta.json"}, ["2", "3"], [1, 0, -1]),
    ],
)
def test_labels(tmp_path: Path, field: str, values: list[bytes], options, classes, expected) -> None:
    source = open_shards(write_shard(tmp_path / "a.tar", labelled(*((field, value) for value in values))), **options)
    assert (source.classes, labels(source)) == (classes, expected)


@pytest.mark.parametrize(
    ("field", "values", "options", "message"),
    [
        ("cls", [b"1", b"x"], {}, "a/1 has the label 'x' where others have integers"),
        ("cls", [b"", b" "], {}, "column 'cls' of .* holds no labels"),
        ("txt", [b"1"], {}, "neither a field 'cls' nor a field 'json' but jpg, txt; name .* --label; .* unpack it"),
        ("cls", [b"1"], {"label": "txt"}, "has no field 'txt' but cls, jpg"),
        (
            "json",
            [b'{"y": 1, "label": 2}'],
            {},
            "cannot tell which key .* name it with --label json:KEY; its keys: y, label",
        ),
        ("json", [b"[1]"], {}, "cannot tell which key .* its keys: none"),
        ("json", [b'{"y": 1.5}'], {}, "column 'json:y' of .* holds 1.5, which is no class"),
        ("json", [b'{"y": 1}', b'{"y": "1"}'], {}, "the labels in json:y of .* are not alike"),
        ("json", [b'{"y": [1]}'], {}, "the labels in json:y of .* are of type list"),
        ("json", [b'{"y": 36893488147419103232}'], {}, "not alike"),
        ("cls", [b"1", b"-1"], {}, "holds one class, 1, and negative numbers"),
    ],
)
def test_labels_that_cannot_be_told(tmp_path: Path, field: str, values: list[bytes], options, message: str) -> None:
    write_shard(tmp_path / "a.tar", labelled(*((field, value) for value in values)))
    with pytest.raises(ElixirError, match=message):
        open_source(tmp_path / "a.tar", **options)


def test_files_beside_the_shards_are_told(shards: Path, tmp_path: Path) -> None:
    for name in ("b.TAR", "index.json", ".hidden", "classnames.txt"):
        (shards / name).write_text("0\n1\n2\n")
    source = open_shards(shards)
    assert source.notes == ["kept beside the shards and not looked at: b.TAR, index.json"]
    assert open_shards(shards / "*0.tar").notes == []
    for kind in ("webdataset", "folder"):
        emit(source, kind, tmp_path / kind, change_some(1))
        restore(tmp_path / kind, tmp_path / f"{kind}-back")
        assert read_tree(tmp_path / f"{kind}-back") == read_tree(shards)


def test_names_of_classes_lie_beside_the_shards(shards: Path) -> None:
    (shards / "classnames.txt").write_text("stop\nyield\ngive way\nunused\n")
    source = open_shards(shards)
    assert source.classes == ["stop", "yield", "give way", "unused"]
    assert labels(source)[:4] == [0, 1, 2, 0]
    (shards / "classnames.txt").write_text("stop\nyield\n")
    assert open_shards(shards).classes == ["0", "1", "2"]


def test_splits(tmp_path: Path) -> None:
    for name in ("train-0", "train-1", "val-0"):
        write_shard(tmp_path / f"src/{name}.tar", samples())
    source = open_shards(tmp_path / "src")
    assert (len(source.samples), source.split) == (12, "train")
    assert source.notes == ["of the splits train, val, train alone was looked at"]
    assert len(open_shards(tmp_path / "src", split="val").samples) == 6
    with pytest.raises(ElixirError, match="no split 'test' but train, val; name one with --split"):
        open_source(tmp_path / "src", split="test")
    emit(source, "webdataset", tmp_path / "dst", change_some(1))
    assert (tmp_path / "dst/val-0.tar").read_bytes() == (tmp_path / "src/val-0.tar").read_bytes()
    restore(tmp_path / "dst", tmp_path / "back")
    assert read_tree(tmp_path / "back") == read_tree(tmp_path / "src")


def test_folders_of_splits(tmp_path: Path) -> None:
    write_shard(tmp_path / "src/train/0.tar", samples())
    write_shard(tmp_path / "src/val/0.tar", samples())
    source = open_shards(tmp_path / "src")
    assert (source.split, source.samples[0].id) == ("train", "0/0000")
    emit(source, "webdataset", tmp_path / "dst")
    assert read_tree(tmp_path / "dst") == read_tree(tmp_path / "src")


@pytest.mark.parametrize("image", ["train/cat/a.png", "data/a.png", "photos/a.png"])
def test_folders_of_images_beside_shards_are_not_passed_over(tmp_path: Path, image: str) -> None:
    for shards in ("a.tar", "train/a.tar"):
        make_tree(tmp_path / shards / "src", {image: PNG})
        write_shard(tmp_path / shards / "src" / shards, samples())
        with pytest.raises(ElixirError, match=r"has both .tar files \(a.tar\) and folders that may be classes"):
            open_source(tmp_path / shards / "src")


def test_one_name_in_two_folders(tmp_path: Path) -> None:
    for place in "ab":
        write_shard(tmp_path / f"src/{place}/0.tar", samples())
    with pytest.raises(ElixirError, match=r"folders that may be classes \(a\); give '.*src/\*\*/\*\.tar' for"):
        open_source(tmp_path / "src")
    source = open_shards(tmp_path / "src/**/*.tar")
    assert [source.samples[row].id for row in (0, 6)] == ["a/0/0000", "b/0/0000"]
    assert set(emit(source, "webdataset", tmp_path / "dst", change_some(2))) <= {"", *(s.id for s in source.samples)}
    restore(tmp_path / "dst", tmp_path / "back")
    assert read_tree(tmp_path / "back") == read_tree(tmp_path / "src")


def test_fingerprint_and_overlap(shards: Path) -> None:
    before = open_source(shards).fingerprint()
    assert open_source(shards).fingerprint() == before
    os.utime(shards / "train-000001.tar", ns=(10**18, 10**18))
    assert open_source(shards).fingerprint() != before
    source = open_source(shards / "*.tar")
    refuse_overlap(source, shards.parent / "dst")
    with pytest.raises(ElixirError, match="lies inside"):
        refuse_overlap(source, shards.parent)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.tar", ["a.tar"]),
        ("{x}{0..1}", ["{x}0", "{x}1"]),
        ("{08..11}", ["08", "09", "10", "11"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{a,b{1..2},}-{0..1}", ["a-0", "a-1", "b1-0", "b1-1", "-0", "-1", "b2-0", "b2-1"]),
        ("{3..1}", []),
    ],
)
def test_braces(pattern: str, expected: list[str]) -> None:
    assert sorted(set(expand_braces(pattern))) == sorted(set(expected))


# What is refused


def damaged(tmp_path: Path, edit) -> Path:
    data = bytearray(write_shard(tmp_path / "a.tar", samples()).read_bytes())
    (tmp_path / "a.tar").write_bytes(edit(data))
    return tmp_path / "a.tar"


def end_of(data: bytes) -> int:
    """Where the last member ends."""
    return max(member.offset_data + -(-member.size // 512) * 512 for member in tarfile.open(fileobj=io.BytesIO(data)))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: data[:100], "cannot be read as a tar archive"),
        (lambda data: data[: 512 * 2 + 100], "cut off in its member '0000.jpg'"),
        (lambda data: data[: end_of(data) - 600], "cut off|unexpected end of data"),
        (lambda data: data[: end_of(data)], "no end mark, so members may have been cut off"),
        (lambda data: data[:-1] + b"x", "goes on behind its last readable member"),
        (lambda data: data + data, "goes on behind its last readable member .*another archive"),
        (lambda data: data[: end_of(data) - 1024] + b"x" * 512 + data[end_of(data) - 512 :], "goes on behind"),
        (lambda data: b"", "cannot be read as a tar archive: empty file"),
        (lambda data: b"text", "cannot be read as a tar archive"),
        (lambda data: bytes(10240), "holds no samples"),
        (lambda data: b"\x1f\x8b" + data, "is compressed.*gunzip"),
    ],
)
def test_damaged_archives_are_refused(tmp_path: Path, edit, message: str) -> None:
    with pytest.raises(ElixirError, match=message):
        open_source(damaged(tmp_path, edit))


def test_any_cut_is_refused(tmp_path: Path) -> None:
    data = write_shard(tmp_path / "a.tar", samples(2)).read_bytes()
    for length in range(0, end_of(data) + 512, 128):
        (tmp_path / "a.tar").write_bytes(data[:length])
        with pytest.raises(ElixirError):
            open_source(tmp_path / "a.tar")


def odd_member(**facts: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo("0.jpg")
    for name, value in facts.items():
        setattr(info, name, value)
    return info


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (odd_member(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "'0.jpg', which is a link"),
        (odd_member(type=tarfile.LNKTYPE, linkname="1.jpg"), "'0.jpg', which is a link"),
        (odd_member(type=tarfile.FIFOTYPE), "'0.jpg', which is neither a file nor a folder"),
        (odd_member(type=tarfile.CHRTYPE), "neither a file nor a folder"),
        (odd_member(name="../0.jpg"), r"'\.\./0\.jpg', which is a path that leads out of the folder"),
        (odd_member(name="a/../../0.jpg"), "leads out of the folder"),
        (odd_member(name="/tmp/0.jpg"), "leads out of the folder"),
        (odd_member(pax_headers={"GNU.sparse.major": "1", "GNU.sparse.map": "0,1"}), "stored sparsely"),
        (odd_member(pax_headers={"size": "0"}), "of a size that only a PAX header tells"),
        (odd_member(pax_headers={"size": "-512"}), "PAX header tells|damaged"),
    ],
)
def test_members_that_are_no_plain_files_are_refused(tmp_path: Path, info: tarfile.TarInfo, message: str) -> None:
    with tarfile.open(write_shard(tmp_path / "a.tar", samples()), "a") as archive:
        archive.addfile(info)
    with pytest.raises(ElixirError, match=message):
        open_source(tmp_path / "a.tar")
    write_shard(tmp_path / "src/train-0.tar", samples())
    (tmp_path / "a.tar").rename(tmp_path / "src/val-0.tar")
    with pytest.raises(ElixirError, match=message):
        open_source(tmp_path / "src")  # it would be copied


def test_folders_in_an_archive_are_no_members(tmp_path: Path) -> None:
    for name, data in samples():
        (tmp_path / "files/x").mkdir(parents=True, exist_ok=True)
        (tmp_path / "files/x" / name).write_bytes(data)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "files", ".")
    assert open_shards(tmp_path / "a.tar").samples[0].id.startswith("a/./x/")
    emit(open_source(tmp_path / "a.tar"), "webdataset", tmp_path / "dst")
    assert (tmp_path / "dst/a.tar").read_bytes() == (tmp_path / "a.tar").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([("1.jpg", PNG), ("2.jpg", PNG), ("1.cls", b"0")], "has the key '1' again behind other samples.*--sort=name"),
        ([("1.jpg", PNG), ("1.JPG", PNG), ("1.cls", b"0")], "has the field 'jpg' of the key '1' twice"),
    ],
)
def test_duplicates_are_refused(tmp_path: Path, content: list[tuple[str, bytes]], message: str) -> None:
    with pytest.raises(ElixirError, match=f"a.tar {message}"):
        open_source(write_shard(tmp_path / "a.tar", content))


def test_what_is_compressed_is_refused_with_the_way_out(tmp_path: Path) -> None:
    for name, mode in (("a.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("a.tar.bz2", "w:bz2"), ("a.tar.xz", "w:xz")):
        with tarfile.open(tmp_path / name, mode) as archive:  # type: ignore[call-overload]
            archive.addfile(tarfile.TarInfo("1.jpg"))
        tool = {"w:gz": "gunzip", "w:bz2": "bunzip2", "w:xz": "unxz"}[mode]
        for place in (tmp_path / name, f"{tmp_path}/a.t*", tmp_path):
            with pytest.raises(ElixirError, match=f"{name} is compressed.*run `{tool} -k`"):
                open_source(place)
        write_shard(tmp_path / "b.tar", samples())
        with pytest.raises(ElixirError, match="is compressed"):
            open_source(tmp_path)
        (tmp_path / "b.tar").unlink()
        (tmp_path / name).rename(tmp_path / "c.tar")
        with pytest.raises(ElixirError, match=rf"c\.tar is compressed.*{tool}"):
            open_source(tmp_path / "c.tar")
        (tmp_path / "c.tar").unlink()


def test_patterns_that_match_nothing_are_refused(shards: Path) -> None:
    with pytest.raises(ElixirError, match=r"no file .* matches .*train-000002\.tar"):
        open_source(shards / "train-{000000..000009}.tar")
    table().to_parquet(str(shards / "x.parquet"))
    with pytest.raises(ElixirError, match=r"both parquet files and WebDataset shards; give .*parquet or .*tar"):
        open_source(shards)
    with pytest.raises(ElixirError, match="stands for nothing"):
        open_source(shards / "train-{2..1}.tar")
    with pytest.raises(ElixirError, match="stands for parquet files and WebDataset shards"):
        open_source(shards / "*")


def test_images_that_are_too_large_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elixir.data.shards.webdataset.LARGEST_FILE", 300)
    source = open_shards(
        write_shard(tmp_path / "a.tar", [*labelled(("cls", b"0")), ("9.png", b"x" * 301), ("9.cls", b"0")])
    )
    with pytest.raises(UnreadableSample, match="301 bytes are too many"):
        source.read(1)


# What is written


def test_kept_shards_are_the_same_files(shards: Path, tmp_path: Path) -> None:
    (shards / "classnames.txt").write_text("stop\nyield\ngive way\n")
    os.utime(shards / "train-000000.tar", ns=(10**18, 10**18))
    outputs = emit(open_source(shards), "webdataset", tmp_path / "dst")
    assert outputs == [sample.id for sample in open_source(shards).samples]
    assert read_tree(tmp_path / "dst") == read_tree(shards)
    assert (tmp_path / "dst/train-000000.tar").stat().st_mtime_ns == 10**18
    assert set(read_tree(tmp_path / "dst/.elixir")) == {"manifest.parquet", "restore.json", "pieces.parquet"}


def test_changed_samples(shards: Path, tmp_path: Path) -> None:
    answers = [
        Decision("kept", 0),
        Decision("relabelled", 2),
        Decision("purified", 2, PNG),
        Decision("relabelled", 1, PNG),
        Decision("dropped", 1),
        Decision("quarantined", 2),
        *(Decision("kept", row % 3) for row in range(6, 10)),
    ]
    outputs = emit(open_source(shards), "webdataset", tmp_path / "dst", decisions(*answers))
    assert outputs[:6] == [*(f"train-000000/000{row}" for row in range(4)), "", ""]
    old, new = (read_shard(place / "train-000000.tar") for place in (shards, tmp_path / "dst"))
    wanted = {name: data for name, data in old.items() if name[3] not in "45"}
    assert list(new) == list(wanted)
    assert new == wanted | {"0001.cls": b"2", "0002.jpg": PNG, "0003.jpg": PNG, "0003.cls": b"1"}
    with tarfile.open(tmp_path / "dst/train-000000.tar") as archive:
        assert {info.mtime for info in archive} == {1700000000}
    second = "train-000001.tar"
    assert (tmp_path / "dst" / second).read_bytes() == (shards / second).read_bytes()
    run = tmp_path / "dst/.elixir"
    kept = {name: data for name, data in old.items() if name in ("0001.cls", "0002.jpg", "0003.jpg", "0003.cls")}
    assert read_shard(run / "originals/train-000000.tar") == kept | {n: d for n, d in old.items() if n[3] == "4"}
    assert read_shard(run / "quarantine/train-000000.tar") == {n: d for n, d in old.items() if n[3] == "5"}
    originals = pq.read_table(run / "manifest.parquet")["original"].to_pylist()
    assert originals[0] == ""
    assert set(originals[1:5]) == {".elixir/originals/train-000000.tar"}
    assert originals[5] == ".elixir/quarantine/train-000000.tar"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"label": 1, "x": [1,  {"label": 7}]}', b'{"label": 2, "x": [1,  {"label": 7}]}'),
        (b'{ "a":1.50e1,\n\t"\\u006cabel" : 1 }\n', b'{ "a":1.50e1,\n\t"\\u006cabel" : 2 }\n'),
        ('{"é":"}","label":1}'.encode("utf-16"), '{"é":"}","label":2}'.encode("utf-16")),
        (b'\xef\xbb\xbf{"label": 3, "label": 1}', b'\xef\xbb\xbf{"label": 3, "label": 2}'),
    ],
)
def test_a_label_in_json_is_replaced_alone(tmp_path: Path, old: bytes, new: bytes) -> None:
    source = open_shards(write_shard(tmp_path / "a.tar", labelled(("json", old), ("json", b'{"label": 2}'))))
    assert labels(source) == [0, 1]
    emit(source, "webdataset", tmp_path / "dst", decisions(Decision("relabelled", 1), Decision("kept", 1)))
    assert read_shard(tmp_path / "dst/a.tar")["0.json"] == new
    assert labels(open_source(tmp_path / "dst", label="json:label")) == [0, 0]
    restore(tmp_path / "dst", tmp_path / "back")
    assert (tmp_path / "back/a.tar").read_bytes() == (tmp_path / "a.tar").read_bytes()


@pytest.mark.parametrize(("old", "new"), [(b"1", b"10"), (b" 1\n", b" 10\n"), (b"\xef\xbb\xbf1", None)])
def test_the_rest_of_a_label_text_stays(tmp_path: Path, old: bytes, new: bytes | None) -> None:
    write_shard(tmp_path / "a.tar", labelled(("cls", old), ("cls", b"10")))
    if new is None:
        with pytest.raises(ElixirError, match="where others have integers"):
            open_source(tmp_path / "a.tar")
        return
    answers = decisions(Decision("relabelled", 1), Decision("kept", 1))
    emit(open_source(tmp_path / "a.tar"), "webdataset", tmp_path / "dst", answers)
    assert read_shard(tmp_path / "dst/a.tar")["0.cls"] == new


def loads_again(dst: Path, count: int) -> None:
    """With webdataset and with datasets: images and labels, of the same number."""
    files = sorted(map(str, dst.glob("*.tar")))
    source = open_shards(dst)
    pairs = with_webdataset(map(Path, files), lambda read: read.decode("pil").to_tuple("jpg;png", "cls"))
    loaded: Any = datasets.load_dataset(
        "webdataset", data_files={"train": files}, split="train", cache_dir=f"{dst}-cache"
    )
    assert len(pairs) == len(loaded) == len(source.samples) == count
    for row, ((image, label), example) in enumerate(zip(pairs, loaded, strict=True)):
        expected = decode(source.read(row)).rgb
        other = example["jpg" if "jpg" in example else "png"]
        assert isinstance(image, Image.Image)
        assert np.array_equal(np.asarray(image.convert("RGB")), expected)
        assert np.array_equal(np.asarray(other.convert("RGB")), expected)
        assert label == example["cls"]


@pytest.mark.parametrize("seed", range(3))
def test_changed_shards_load_again(shards: Path, tmp_path: Path, seed: int) -> None:
    outputs = [
        output for output in emit(open_source(shards), "webdataset", tmp_path / "dst", change_some(seed)) if output
    ]
    loads_again(tmp_path / "dst", len(outputs))
    assert [sample.id for sample in open_source(tmp_path / "dst").samples] == outputs


def test_other_kinds_become_shards(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elixir.data.shards.sinks.SHARD_SAMPLES", 3)
    source = open_source(tree)
    for place in ("dst", "again"):
        outputs = [output for output in emit(source, "webdataset", tmp_path / place, change_some(3)) if output]
    assert outputs[:1] == ["train-000000/00000000"]
    assert set(read_tree(tmp_path / "dst")) == {"classnames.txt", "train-000000.tar", "train-000001.tar"}
    assert read_tree(tmp_path / "dst") == read_tree(tmp_path / "again")
    assert open_source(tmp_path / "dst").classes == source.classes
    loads_again(tmp_path / "dst", len(outputs))
    with tarfile.open(tmp_path / "dst/train-000000.tar") as archive:
        assert {(info.mtime, info.uid, info.uname) for info in archive} == {(0, 0, "")}
        assert archive.getnames()[:2] == ["00000000.png", "00000000.cls"]
    restore(tmp_path / "dst", tmp_path / "back")
    assert read_tree(tmp_path / "back") == read_tree(tree)


def test_a_table_becomes_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elixir.data.shards.sinks.SHARD_BYTES", 300)
    table().to_parquet(str(tmp_path / "val.parquet"))
    source = open_source(tmp_path / "val.parquet")
    for seed in range(3):
        emit(source, "webdataset", tmp_path / f"dst{seed}", change_some(seed))
        restore(tmp_path / f"dst{seed}", tmp_path / f"back{seed}")
        back = datasets.Dataset.from_parquet(
            str(tmp_path / f"back{seed}/val.parquet"), cache_dir=str(tmp_path / "cache")
        )
        assert back.cast_column("image", datasets.Image(decode=False)).to_list() == (  # type: ignore[union-attr]
            table().cast_column("image", datasets.Image(decode=False)).to_list()
        )
    assert (tmp_path / "dst0/val-000000.tar").exists()
    sink = open_sink("webdataset", tmp_path / "notes", source)
    assert sink.notes == ["the columns track are not in the shards"]


# The way back


SPLICED = ("train-000000.tar", ".elixir/originals/train-000000.tar")


FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
LETTERS = st.sampled_from(["a", "B", "é", "\udce9", "x" * 120, "/", " ", "\n", "\\", "-"])
KEYS = st.lists(LETTERS, min_size=1, max_size=4).map("".join)
EXTRA = st.sampled_from(["", "seg.npy", "txt", "json", "mp4"])


@st.composite
def archives(draw: st.DrawFn) -> list[tuple[str, bytes]]:
    """Samples that lack this and that, and members of no sample."""
    content = []
    for row, key in enumerate(draw(st.lists(KEYS, min_size=1, max_size=5, unique=True))):
        fields = [("jpg", draw(st.sampled_from([*JPEGS[:3], b"", b"x"]))), ("cls", b"%d" % (row % 3))]
        fields += [(name, b"y" * draw(st.sampled_from([0, 511, 512, 600]))) for name in [draw(EXTRA)] if name]
        fields = draw(st.permutations(fields))[draw(st.integers(0, 1)) :]
        content += [(f"k{key}k.{name}", data) for name, data in fields]
        if draw(st.booleans()):
            content.append((f"between {row}", b"z" * 10))
    return [("first.jpg", JPEGS[0]), ("first.cls", b"1"), *content]


thorough = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@thorough
@given(
    shards=st.lists(archives(), min_size=1, max_size=3),
    form=FORMATS,
    seed=st.integers(0, 99),
    kind=st.sampled_from(["webdataset", "webdataset", "webdataset", "folder", "hf", "parquet"]),
)
def test_shards_come_back_byte_for_byte(shards, form, seed, kind, tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path = tmp_path_factory.mktemp("shards")
    for number, content in enumerate(shards):
        if form == tarfile.USTAR_FORMAT:
            content = [(name, data) for name, data in content if len(name) < 90]
        write_shard(tmp_path / f"src/{number}.tar", content, form)
    source = open_source(tmp_path / "src")

    def decide(source: Source, index: int) -> Decision:
        decision, label = change_some(seed)(source, index), source.samples[index].label
        return decision if label >= 0 else Decision("quarantined", label)

    outputs = [output for output in emit(source, kind, tmp_path / "dst", decide) if output]
    assert len(set(outputs)) == len(outputs)
    assert restore(tmp_path / "dst", tmp_path / "back") == len(source.samples)
    assert read_tree(tmp_path / "back") == read_tree(tmp_path / "src")
    if kind == "webdataset":
        for shard in (tmp_path / "dst").glob("*.tar"):
            list(members(shard))


def test_pax_headers_stay(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "of all"}) as archive:
        for name, data in samples():
            info = tarfile.TarInfo(f"{'long' * 40}/{name}")
            info.size, info.mtime, info.pax_headers = len(data), 1.5, {"SCHILY.xattr.user.note": "é"}
            archive.addfile(info, io.BytesIO(data))
    answers = [
        Decision("relabelled", 2, PNG),
        Decision("dropped", 1),
        *(Decision("kept", row % 3) for row in range(2, 6)),
    ]
    emit(open_source(tmp_path / "a.tar"), "webdataset", tmp_path / "dst", decisions(*answers))
    with tarfile.open(tmp_path / "dst/a.tar") as archive:
        found = archive.getmembers()
        assert archive.pax_headers == {"comment": "of all"}
    assert (len(found), found[0].size, found[0].mtime) == (15, len(PNG), 1.5)
    assert {info.pax_headers["SCHILY.xattr.user.note"] for info in found} == {"é"}
    restore(tmp_path / "dst", tmp_path / "back")
    assert (tmp_path / "back/a.tar").read_bytes() == (tmp_path / "a.tar").read_bytes()


@pytest.mark.parametrize(
    ("lost", "how"),
    [
        *((file, how) for file in SPLICED for how in ("missing", "shorter", "other")),
        *((".elixir/pieces.parquet", how) for how in ("missing", "shorter")),
    ],
)
def test_changed_outputs_are_not_restored(shards: Path, tmp_path: Path, lost: str, how: str) -> None:
    answers = [Decision("relabelled", 1), *(Decision("kept", row % 3) for row in range(1, 10))]
    emit(open_source(shards), "webdataset", tmp_path / "dst", decisions(*answers))
    file = tmp_path / "dst" / lost
    data = file.read_bytes()
    file.unlink()
    if how != "missing":
        file.write_bytes(data[:100] if how == "shorter" else data[:520] + bytes([data[520] ^ 1]) + data[521:])
    with pytest.raises(ElixirError):
        restore(tmp_path / "dst", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_pieces_cannot_name_other_files(shards: Path, tmp_path: Path) -> None:
    emit(open_source(shards), "webdataset", tmp_path / "dst", change_some(1))
    file = tmp_path / "dst/.elixir/pieces.parquet"
    rows = pq.read_table(file).to_pylist()
    for change in ({"origin": "../models"}, {"length": -1}, {"length": 1 << 60}, {"origin": "image"}, {"shard": 7}):
        pq.write_table(pa.Table.from_pylist([{**row, **change} for row in rows]), file)
        with pytest.raises(ElixirError):
            restore(tmp_path / "dst", tmp_path / "back")
        assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("fact", ["shards", "copies"])
def test_facts_cannot_lead_elsewhere(tmp_path: Path, fact: str) -> None:
    for name in ("train", "val"):
        write_shard(tmp_path / f"src/{name}.tar", samples())
    emit(open_source(tmp_path / "src"), "webdataset", tmp_path / "dst")
    file = tmp_path / "dst/.elixir/restore.json"
    facts = json.loads(file.read_text())
    digest = hashlib.sha256((tmp_path / "src/train.tar").read_bytes()).hexdigest()
    facts[fact] = [["../evil.tar", digest]] if fact == "shards" else ["../evil.tar"]
    file.write_text(json.dumps(facts))
    with pytest.raises(ElixirError, match="no path inside"):
        restore(tmp_path / "dst", tmp_path / "back")
    assert not list(tmp_path.glob("evil*"))
