import os
import struct
import zipfile
from pathlib import Path

import pytest

from elixir.data.open import open_source
from elixir.data.overlap import refuse_overlap
from elixir.data.remote import archive
from elixir.data.restore import restore
from elixir.errors import ElixirError

from .conftest import change_some, emit, image_bytes, make_tree, read_tree, table

CLASSES = {f"{name}/{number}.png": image_bytes(number) for name in ("cat", "dog") for number in range(4)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELIXIR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pack(path: Path, files: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return path


def member(name: str, mode: int = 0, system: int = 3) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr, info.create_system = mode << 16, system
    return info


def test_class_folders_in_an_archive(tmp_path: Path, cache: Path) -> None:
    file = pack(tmp_path / "signs.zip", {**CLASSES, "empty/": b"", "readme.md": b"# signs"})
    source = open_source(file)
    assert (source.kind, source.location, source.classes) == ("folder", str(file), ["cat", "dog", "empty"])
    assert [source.read(index) for index in range(8)] == list(CLASSES.values())
    assert source.notes[-1].startswith(f"signs.zip was unpacked to {cache}/signs.zip-")

    emit(source, "folder", tmp_path / "dst", change_some(1))
    restore(tmp_path / "dst", tmp_path / "back")
    tree = {**CLASSES, "readme.md": b"# signs", "cat": None, "dog": None, "empty": None}
    assert read_tree(tmp_path / "back") == tree

    for taken in (file, cache, next(cache.iterdir()) / "data/new"):
        with pytest.raises(ElixirError, match=r"the same|lies inside"):
            refuse_overlap(source, taken)


def test_an_archive_is_unpacked_once(tmp_path: Path, cache: Path) -> None:
    file = pack(tmp_path / "signs.zip", CLASSES)
    before = open_source(file).fingerprint()
    states = {path: path.stat().st_ino for path in cache.rglob("*.png")}
    assert open_source(str(file)).fingerprint() == before
    assert {path: path.stat().st_ino for path in cache.rglob("*.png")} == states
    pack(file, {**CLASSES, "cat/0.png": image_bytes(10)})
    source = open_source(file)
    assert (source.read(0), source.fingerprint() == before) == (image_bytes(10), False)


def test_a_folder_in_an_archive(tmp_path: Path) -> None:
    file = pack(tmp_path / "a.zip", {f"data/{name}": data for name, data in CLASSES.items()})
    source = open_source(f"{file}/data")
    assert (source.location, source.classes) == (f"{file}/data", ["cat", "dog"])
    refuse_overlap(source, tmp_path / "dst")
    with pytest.raises(ElixirError, match="the same"):
        refuse_overlap(source, file)
    with pytest.raises(ElixirError, match=rf"^{file}/data/cow does not exist"):
        open_source(f"{file}/data/cow")


def test_tables_in_an_archive(tmp_path: Path) -> None:
    table().to_parquet(tmp_path / "train.parquet")
    table().save_to_disk(str(tmp_path / "saved"))
    rows = pack(tmp_path / "rows.zip", {"train.parquet": (tmp_path / "train.parquet").read_bytes()})
    saved = pack(tmp_path / "saved.zip", {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()})
    for file, kind in ((rows, "parquet"), (saved, "hf")):
        source = open_source(file, label="label")
        assert (source.kind, source.location, source.read(3)) == (kind, str(file), image_bytes(3))
    assert len(open_source(f"{rows}/*.parquet").samples) == 7


def test_any_name_with_the_scheme(tmp_path: Path) -> None:
    file = pack(tmp_path / "signs.bin", CLASSES)
    assert open_source(f"zip:{file}").location == str(file)
    with pytest.raises(ElixirError, match=r"signs.bin is a file of no kind that is known; give"):
        open_source(file)
    with pytest.raises(ElixirError, match=r"none.zip does not exist"):
        open_source(f"zip:{tmp_path}/none.zip")
    folder = make_tree(tmp_path / "folder.zip", CLASSES)
    assert open_source(folder).classes == ["cat", "dog"]


def test_names_as_other_systems_write_them(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(member(r"cat\0.png", system=0), image_bytes(0))
        packed.writestr(member("./dog/0.png"), image_bytes(1))
    assert open_source(tmp_path / "a.zip").classes == ["cat", "dog"]
    for text, expected in (("é", "é"), ("\udcff", "\N{NO-BREAK SPACE}")):  # no flag says that it is UTF-8; cp437
        name = os.fsencode(text).ljust(2, b"_")
        file = pack(tmp_path / "b.zip", {"xx/0.png": image_bytes(0), "zz/0.png": image_bytes(1)})
        file.write_bytes(file.read_bytes().replace(b"xx/0", name + b"/0"))
        assert any(found.startswith(expected) for found in open_source(file).classes)


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "cat/../../x.png", "cat//x.png", "cat/x\0.png", "/", "../"])
def test_members_that_leave_the_folder(tmp_path: Path, cache: Path, name: str) -> None:
    file = pack(tmp_path / "a.zip", {**CLASSES, "cat/MARKED": b"x"})
    if "\0" in name:
        file.write_bytes(file.read_bytes().replace(b"cat/MARKED", name.encode()))
    else:
        pack(file, {**CLASSES, name: b"x"})
    with pytest.raises(ElixirError, match=r"a\.zip has .* in it, which is no path for a file in a folder"):
        open_source(file)
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_member_that_is_there_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("cat/a.png", image_bytes(0))
        packed.writestr("cat/a.png", image_bytes(1))
    with pytest.raises(ElixirError, match=r"has 'cat/a.png' in it twice"):
        open_source(tmp_path / "a.zip")


@pytest.mark.parametrize("mode", [0o120777, 0o010644, 0o020644])
def test_links_and_devices(tmp_path: Path, mode: int) -> None:
    with zipfile.ZipFile(pack(tmp_path / "a.zip", CLASSES), "a") as packed:
        packed.writestr(member("cat/link.png", mode), "/etc/passwd")
    with pytest.raises(ElixirError, match=r"a link or another special file in it, cat/link.png; unpack it"):
        open_source(tmp_path / "a.zip")


def test_encrypted(tmp_path: Path) -> None:
    file = pack(tmp_path / "a.zip", CLASSES)
    data = bytearray(file.read_bytes())
    data[data.rfind(b"PK\1\2") + 8] |= 1
    file.write_bytes(data)
    with pytest.raises(ElixirError, match=r"is encrypted .*; unpack it and give the folder"):
        open_source(file)


@pytest.mark.parametrize("cut", [30, 1000, -1])
def test_damage(tmp_path: Path, cut: int) -> None:
    file = pack(tmp_path / "a.zip", CLASSES)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(ElixirError, match=r"a.zip is damaged or no zip archive \(.*\); fetch or pack it again"):
        open_source(file)


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wrong_byte(tmp_path: Path, cache: Path, how: int) -> None:
    file = pack(tmp_path / "a.zip", CLASSES, how)
    data = bytearray(file.read_bytes())
    data[data.find(b"cat/2.png") + 40] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(ElixirError, match=r"cat/2.png in .*a.zip is damaged"):
        open_source(file)
    assert sorted(path.name for path in cache.rglob("*.png")) == ["0.png", "1.png"]  # whole ones alone


def test_a_member_that_is_larger_than_it_says(tmp_path: Path) -> None:
    file = pack(tmp_path / "a.zip", {"cat/a.png": bytes(1 << 20)})
    data = bytearray(file.read_bytes())
    struct.pack_into("<I", data, data.rfind(b"PK\1\2") + 24, 1000)
    file.write_bytes(data)
    with pytest.raises(ElixirError, match=r"cat/a.png in .*a.zip is damaged"):
        open_source(file)


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    file = pack(tmp_path / "a.zip", {"cat/a.bmp": bytes(1 << 20), "dog/a.bmp": bytes(1 << 20)})
    assert file.stat().st_size < (2 << 20) / archive.LARGEST_RATIO
    monkeypatch.setattr(archive, "LARGEST_FILE", 1 << 20)
    with pytest.raises(ElixirError, match=r"would unpack to 0.0 GB, \d{3} times its size, as no pictures do"):
        open_source(file)
    assert not cache.exists()
    stored = pack(tmp_path / "b.zip", {"cat/a.bmp": bytes(1 << 20), "dog/a.bmp": bytes(1 << 20)}, zipfile.ZIP_STORED)
    assert len(open_source(stored).samples) == 2


def test_more_than_the_disk_holds(tmp_path: Path, cache: Path) -> None:
    file = pack(tmp_path / "a.zip", CLASSES)
    data = bytearray(file.read_bytes())
    at = data.rfind(b"PK\1\2")
    for place in (at + 20, at + 24):  # packed and unpacked
        struct.pack_into("<I", data, place, 0xFFFFFFF0)
    file.write_bytes(data)
    with pytest.raises(ElixirError, match=r"would unpack to 4\.3 GB"):
        open_source(file)


@pytest.mark.parametrize("name", ["a.7z", "a.rar", "a.gz", "a.XZ"])
def test_other_archives(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ElixirError, match=r"is an archive that is not read, other than .zip; unpack it"):
        open_source(tmp_path / name)
