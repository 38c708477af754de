"""The folder source: what is a sample, what is not, and every bad input that a file system can hold."""

import os
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir.data.files.folder import FolderSource
from elixir.data.files.tree import walk
from elixir.data.image import decode
from elixir.data.open import open_source
from elixir.data.paths import LONGEST, escape, file_name, unescape
from elixir.data.restore import restore
from elixir.errors import ElixirError, UnreadableSample

from .conftest import emit, image_bytes, make_tree, read_tree

PNG = image_bytes(0)


def problems(source: FolderSource) -> dict[str, str | None]:
    return {sample.id: sample.problem for sample in source.samples}


def reason(source: FolderSource, id: str) -> str:
    index = [sample.id for sample in source.samples].index(id)
    with pytest.raises(UnreadableSample) as caught:
        decode(source.read(index))
    return caught.value.reason


def test_tree(tree: Path) -> None:
    source = open_source(tree)
    assert isinstance(source, FolderSource)
    assert (source.kind, source.location) == ("folder", str(tree))
    assert source.classes == ["cat", "dog", "empty"]
    assert [(sample.id, sample.label, sample.name) for sample in source.samples] == [
        ("cat/a.png", 0, "a.png"),
        ("cat/b.jpg", 0, "b.jpg"),
        ("cat/sub/c.webp", 0, "sub/c.webp"),
        ("dog/a.png", 1, "a.png"),
        ("dog/d.bmp", 1, "d.bmp"),
        ("dog/e.ppm", 1, "e.ppm"),
        ("dog/f.tiff", 1, "f.tiff"),
    ]
    assert source.others == [".git/config", "dog/.DS_Store", "dog/notes.txt", "readme.md"]
    assert source.folders == [".git", "cat", "cat/sub", "dog", "empty"]
    for index, sample in enumerate(source.samples):
        assert source.read(index) == (tree / sample.id).read_bytes()
        assert decode(source.read(index)).rgb.shape == (6, 5, 3)


def test_run_folder_is_left_out(tree: Path) -> None:
    make_tree(tree, {".elixir/originals/cat/x.png": PNG})
    assert not any(".elixir" in path for path in FolderSource(walk(tree)).others)


def test_fingerprint_changes_with_the_input(tree: Path) -> None:
    first = FolderSource(walk(tree)).fingerprint()
    assert FolderSource(walk(tree)).fingerprint() == first
    os.utime(tree / "cat/a.png", ns=(1, 1))
    second = FolderSource(walk(tree)).fingerprint()
    (tree / "cat/a.png").rename(tree / "cat/z.png")
    third = FolderSource(walk(tree)).fingerprint()
    (tree / "readme.md").write_bytes(b"longer than it was")
    fourth = FolderSource(walk(tree)).fingerprint()
    (tree / "new").mkdir()
    assert len({first, second, third, fourth, FolderSource(walk(tree)).fingerprint()}) == 5


def test_broken_files_are_samples_with_a_reason(tmp_path: Path) -> None:
    files = {
        "cat/good.png": PNG,
        "cat/zero.png": b"",
        "cat/truncated.jpg": image_bytes(1, "JPEG", (64, 64))[:700],
        "cat/text.png": b"hello",
        "cat/photo.heic": b"\0\0\0\x18ftypheic",
    }
    source = FolderSource(walk(make_tree(tmp_path, files)))
    assert set(problems(source)) == set(files)
    assert reason(source, "cat/zero.png") == "empty file"
    assert "cannot be decoded" in reason(source, "cat/truncated.jpg")
    assert "not an image" in reason(source, "cat/text.png")
    assert "not an image" in reason(source, "cat/photo.heic")


def test_extension_is_not_believed(tmp_path: Path) -> None:
    files = {"cat/jpeg.png": image_bytes(1, "JPEG"), "cat/no_extension": PNG, "cat/image.dat": image_bytes(2, "BMP")}
    source = FolderSource(walk(make_tree(tmp_path, files | {"cat/notes": b"text", "cat/list.csv": b"P3,9\n"})))
    assert set(problems(source)) == set(files)
    assert source.others == ["cat/list.csv", "cat/notes"]
    for index in range(3):
        decode(source.read(index))


def test_hidden_images_of_a_class_are_samples(tmp_path: Path) -> None:
    hidden = {"cat/.a.png", "cat/.b", "cat/.git/c.jpg", "cat/d/.e/f.png"}
    others = {".x.png": PNG, ".git/a.png": PNG, "cat/._a.png": b"\0\5\x16\7", "cat/.git/index.png": b"DIRC"}
    source = FolderSource(walk(make_tree(tmp_path, {"cat/a.png": PNG, **dict.fromkeys(hidden, PNG), **others})))
    assert set(problems(source)) == {"cat/a.png", *hidden}
    assert set(source.others) == set(others)
    assert source.classes == ["cat"]
    assert {sample.name for sample in source.samples} == {sample.id.removeprefix("cat/") for sample in source.samples}


def test_decompression_bomb(tmp_path: Path) -> None:
    bmp = image_bytes(0, "BMP")
    make_tree(tmp_path, {"cat/bomb.bmp": bmp[:18] + struct.pack("<ii", 20_000, 20_000) + bmp[26:]})
    assert "limit" in reason(FolderSource(walk(tmp_path)), "cat/bomb.bmp")


@pytest.mark.parametrize(
    "name", ["two words.png", 'it\'s "quoted".png', "new\nline.png", "smile 😀.png", "back\\slash.png", "%41.png"]
)
def test_hostile_names(tmp_path: Path, name: str) -> None:
    source = FolderSource(walk(make_tree(tmp_path, {f"{name[:-4]}/{name}": PNG})))
    assert source.path(0) == tmp_path / name[:-4] / name
    assert source.read(0) == PNG
    source.samples[0].id.encode()


def test_longest_name(tmp_path: Path) -> None:
    name = "é" * 125 + "x.png"
    assert len(name.encode()) == LONGEST
    assert FolderSource(walk(make_tree(tmp_path, {f"cat/{name}": PNG}))).read(0) == PNG


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_name_that_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    source = FolderSource(walk(make_tree(tmp_path, {f"cat/{name}": PNG})))
    assert source.samples[0].id == r"cat/caf\xe9.png"
    assert source.read(0) == PNG


@given(st.binary(max_size=40))
def test_escape_is_reversible(data: bytes) -> None:
    name = os.fsdecode(data)
    escape(name).encode()
    assert unescape(escape(name)) == name


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_is_a_file_name(one: str, two: str) -> None:
    names = [file_name(text) for text in (one, two)]
    for name in names:
        assert 0 < len(os.fsencode(name)) <= LONGEST
        assert not set(name) & {"/", "\0"}
        assert not name.startswith(".")
    assert (names[0] == names[1]) == (one == two)


def test_names_that_differ_in_case_only(tmp_path: Path) -> None:
    make_tree(tmp_path, {"cat/a.png": PNG, "cat/A.png": image_bytes(1)})
    if len(list((tmp_path / "cat").iterdir())) < 2:
        pytest.skip("file system without case")
    assert list(problems(FolderSource(walk(tmp_path)))) == ["cat/A.png", "cat/a.png"]


def test_links(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root", {"cat/a.png": PNG, "dog/b.png": PNG})
    outside = make_tree(tmp_path / "outside", {"secret.png": image_bytes(9)})
    (root / "cat/inside.png").symlink_to("../dog/b.png")
    (root / "cat/outside.png").symlink_to(outside / "secret.png")
    (root / "cat/nowhere.png").symlink_to("gone.png")
    (root / "cat/loop.png").symlink_to("loop.png")
    (root / "cat/up").symlink_to("..")
    source = FolderSource(walk(root))
    out = "symbolic link that leaves the folder; add --follow-links to read what it leads to"
    assert problems(source) == {
        "cat/a.png": None,
        "cat/inside.png": None,
        "cat/outside.png": out,
        "cat/nowhere.png": "no such file or directory",
        "cat/loop.png": "symbolic link loop",
        "cat/up": "symbolic link to a folder; add --follow-links to read what it leads to",
        "dog/b.png": None,
    }
    assert source.classes == ["cat", "dog"]
    assert reason(source, "cat/outside.png") == out


def test_links_are_followed_when_asked_for(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root", {"cat/a.png": PNG, "dog/b.png": PNG})
    outside = make_tree(tmp_path / "outside", {"c.png": image_bytes(9), "sub/d.png": image_bytes(8)})
    (root / "cat/outside.png").symlink_to(outside / "c.png")
    (root / "cat/nowhere.png").symlink_to("gone.png")
    (root / "cat/up").symlink_to("..")
    (root / "owl").symlink_to(outside)
    (outside / "round").symlink_to(outside)
    (outside / "back").symlink_to(root / "dog")
    source = FolderSource(walk(root, follow_links=True))
    assert problems(source) == {
        "cat/a.png": None,
        "cat/outside.png": None,
        "cat/nowhere.png": "no such file or directory",
        "cat/up": "symbolic link to a folder that is read already",
        "dog/b.png": None,
        "owl/c.png": None,
        "owl/sub/d.png": None,
        "owl/round": "symbolic link to a folder that is read already",
        "owl/back/b.png": None,
    }
    emit(source, "folder", tmp_path / "dst")
    assert (tmp_path / "dst/owl/sub/d.png").read_bytes() == image_bytes(8)
    assert not any(path.is_symlink() for path in (tmp_path / "dst/cat").iterdir())
    assert not (tmp_path / "dst/owl").is_symlink()
    restore(tmp_path / "dst", tmp_path / "back")
    assert (tmp_path / "back/owl/c.png").read_bytes() == image_bytes(9)


@pytest.mark.parametrize("inside", [False, True])
def test_a_class_that_is_a_link_is_not_left_out(tmp_path: Path, inside: bool) -> None:
    root = make_tree(tmp_path / "root", {"cat/a.png": PNG, "dog/b.png": PNG})
    (root / "owl").symlink_to("dog" if inside else make_tree(tmp_path / "outside", {"c.png": PNG}))
    with pytest.raises(ElixirError, match=r"the class owl of .* is a link to another folder; add --follow-links"):
        open_source(root)
    assert open_source(root, follow_links=True).classes == ["cat", "dog", "owl"]


def test_nothing_but_links(tmp_path: Path) -> None:
    store = make_tree(tmp_path / "store", {"a.png": PNG, "b.png": PNG})
    for name in ("cat/a.png", "dog/b.png"):
        (tmp_path / "root" / name).parent.mkdir(parents=True)
        (tmp_path / "root" / name).symlink_to(store / Path(name).name)
    with pytest.raises(ElixirError, match=r"all 2 images of .* are links that leave it; add --follow-links"):
        open_source(tmp_path / "root")
    source = open_source(tmp_path / "root", follow_links=True)
    assert [source.read(index) for index in range(2)] == [PNG, PNG]


def test_root_may_be_a_link(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    assert problems(FolderSource(walk(tmp_path / "link"))) == problems(FolderSource(walk(tree)))


def test_pipe_is_not_opened(tmp_path: Path) -> None:
    make_tree(tmp_path, {"cat/a.png": PNG})
    os.mkfifo(tmp_path / "cat/pipe.png")
    assert problems(FolderSource(walk(tmp_path)))["cat/pipe.png"] == "not a regular file"


def test_no_permission(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = FolderSource(walk(tree))

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert reason(source, "cat/a.png") == "permission denied"


def test_folder_that_cannot_be_listed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(path):
        if Path(path).name in ("sub", "empty"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = problems(FolderSource(walk(tree)))
    assert found["cat/sub"] == found["empty"] == "folder cannot be listed: permission denied"


def test_file_that_has_gone(tree: Path) -> None:
    source = FolderSource(walk(tree))
    (tree / "cat/a.png").unlink()
    assert reason(source, "cat/a.png") == "no such file or directory"


def test_one_class_and_class_with_one_image(tmp_path: Path) -> None:
    source = FolderSource(walk(make_tree(tmp_path, {"only/one.png": PNG})))
    assert (source.classes, len(source.samples)) == (["only"], 1)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no images in class folders"),
        ({"a.png": PNG}, "one folder per class"),
        ({".hidden/a.png": PNG}, "no images in class folders"),
        ({"cat/notes.txt": b"text"}, "no images"),
    ],
)
def test_no_samples(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(ElixirError, match=message):
        open_source(make_tree(tmp_path, files))


def test_empty_class_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(ElixirError, match="no images"):
        open_source(tmp_path)


def test_paths_that_are_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(ElixirError, match="does not exist"):
        open_source(tmp_path / "missing")
    (tmp_path / "a.txt").write_bytes(b"text")
    with pytest.raises(ElixirError, match="is a file"):
        open_source(tmp_path / "a.txt")
    with pytest.raises(ElixirError, match=r"no file that ends with \.parquet or \.tar matches"):
        open_source(str(tmp_path / "*.parquet"))


def test_table_options_are_refused_for_a_folder(tree: Path) -> None:
    with pytest.raises(ElixirError, match="leave out --image"):
        open_source(tree, label="label")


@pytest.mark.parametrize("name", ["a.j2k", "b.PCX", "c.icns", "d.fits", "e.dcm", "f.nii.gz", "g.npy", "i.sgi"])
def test_images_of_formats_that_are_not_decoded_are_set_aside(tmp_path: Path, name: str) -> None:
    source = FolderSource(walk(make_tree(tmp_path / "src", {f"cat/{name}": b"\0" * 99, "cat/x.gz": b"\0" * 99})))
    assert reason(source, f"cat/{name}") == "not an image of a supported format"
    assert source.others == ["cat/x.gz"]
    emit(source, "folder", tmp_path / "dst")
    assert list(read_tree(tmp_path / "dst")) == ["cat", "cat/x.gz"]
