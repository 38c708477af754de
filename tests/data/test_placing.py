"""Outputs that link to their input: it stays as it is whatever becomes of them; what cannot be is said at once."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from small_world import elixir, place
from test_result import NEW, judged

from elixir.api import decide, restore
from elixir.data.backup import SinkWithBackup
from elixir.data.decisions import HumanDecision
from elixir.data.files.placing import Link
from elixir.data.io import FICLONE, clone
from elixir.data.open import open_sink, open_source
from elixir.errors import ElixirError
from elixir.result import Result, output_options

from .conftest import image_bytes, make_tree, read_tree, table

IMAGES = {name: image_bytes(seed) for seed, name in enumerate(["cat/a.png", "cat/b.png", "dog/a.png", "dog/b.png"])}


def folder(root: Path) -> Path:
    return make_tree(root, IMAGES | {"dog/broken.png": b"", "notes.txt": b"hi", ".git/config": b"[core]"})


def listed(root: Path) -> Path:
    files = {f"images/{name}": data for name, data in IMAGES.items()}
    lines = [f"{name},{name.split('/')[1]}\n" for name in files]
    return make_tree(root, files | {"labels.csv": "".join(["file,label\n", *lines]).encode(), "notes.txt": b"hi"})


SOURCES: dict[str, Callable[[Path], Path]] = {"folder": folder, "list": listed}
LINKS: list[Link] = ["hard", "symbolic"]


def state(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """All that may not change about the input: bytes, mode and modification time of every file."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns) for path in files
    }


def clean(src: Path, dst: Path, link: Link, **options: Any) -> Result:
    return judged().run(src, dst, link=link, **options)


def shared(result: Result, src: Path) -> set[str]:
    """Files of an output that are those of the input."""
    dst = place(result)
    files = {path for path in dst.rglob("*") if path.is_file() and ".elixir" not in path.relative_to(dst).parts}
    inputs = {(path.stat().st_dev, path.stat().st_ino) for path in src.rglob("*") if path.is_file()}
    return {str(path.relative_to(dst)) for path in files if (path.stat().st_dev, path.stat().st_ino) in inputs}


def untouched(result: Result) -> set[str]:
    return {row["output"] for row in result.table.to_pylist() if row["action"] == "kept"}


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("kind", SOURCES)
def test_the_input_stays_whatever_becomes_of_the_output(tmp_path: Path, kind: str, link: Link) -> None:
    src = SOURCES[kind](tmp_path / "src")
    for number, path in enumerate(path for path in src.rglob("*") if path.is_file()):
        path.chmod(0o440 if number % 2 else 0o644)
    before = state(src)
    result = clean(src, tmp_path / "dst", link)
    dst = place(result)
    others = {"notes.txt"} | ({".git/config"} if kind == "folder" else set())
    assert shared(result, src) == untouched(result) | others
    assert any("are " + link + " links" in note for note in result.notes)
    (changed,) = (row for row in result.table.to_pylist() if row["action"] in ("relabelled", "purified"))
    assert (dst / changed["output"]).read_bytes() == NEW
    assert state(src) == before

    ids = result.table["id"].to_pylist()
    decided = decide(dst, [HumanDecision(ids[0], "keep"), HumanDecision(ids[2], "keep"), HumanDecision(ids[1], "drop")])
    assert decided.counts["dropped"] == 1
    assert shared(decided, src) == untouched(decided) - {ids[0], ids[2]} | others
    assert state(src) == before
    assert restore(dst, tmp_path / "back") == len(ids)
    assert read_tree(tmp_path / "back") == read_tree(src)
    assert all(path.stat().st_nlink == 1 for path in (tmp_path / "back").rglob("*") if path.is_file())
    assert not any(path.is_symlink() for path in (tmp_path / "back").rglob("*"))

    again = decide(dst, [HumanDecision(ids[0], "drop"), HumanDecision(ids[1], "keep")])
    assert (dst / ids[1]).read_bytes() == before[ids[1]][0]
    assert restore(dst, tmp_path / "once more") == len(again.table)
    clean(src, tmp_path / "dst", link, overwrite=True)
    assert state(src) == before
    shutil.rmtree(tmp_path / "dst")
    assert state(src) == before
    assert all(path.stat().st_nlink == 1 for path in src.rglob("*") if path.is_file())


@pytest.mark.parametrize("link", LINKS)
def test_a_list_that_is_rewritten_is_a_file_of_its_own(tmp_path: Path, link: Link) -> None:
    src = listed(tmp_path / "src")
    before = state(src)
    dst = place(clean(src, tmp_path / "dst", link))
    assert not (dst / "labels.csv").is_symlink()
    assert (dst / "labels.csv").read_bytes() != before["labels.csv"][0]
    assert (dst / ".elixir/originals/labels.csv").stat().st_nlink == 1
    (dst / "labels.csv").write_text("mine")
    assert state(src) == before


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("path", ["dog/b.png", "notes.txt"])
def test_an_input_that_was_edited_is_not_restored(tmp_path: Path, link: Link, path: str) -> None:
    src = folder(tmp_path / "src")
    dst = place(clean(src, tmp_path / "dst", link))
    kept = (src / path).read_bytes()
    (src / path).write_bytes(b"edited in place")
    with pytest.raises(ElixirError, match=f"{path} is not what it was in the input; its file in the input, which"):
        restore(dst, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    (src / path).write_bytes(kept)
    restore(dst, tmp_path / "back")
    assert read_tree(tmp_path / "back") == read_tree(src)


def test_symbolic_links_to_what_has_moved_are_named(tmp_path: Path) -> None:
    src = folder(tmp_path / "src")
    dst = place(clean(src, tmp_path / "dst", "symbolic"))
    src.rename(tmp_path / "moved")
    with pytest.raises(ElixirError, match=r"src/cat/b\.png, which has moved or gone; put it back there"):
        restore(dst, tmp_path / "back")


def test_symbolic_links_lead_to_what_links_of_the_input_lead_to(tmp_path: Path) -> None:
    src = make_tree(tmp_path / "src", IMAGES)
    (src / "dog/inside.png").symlink_to("b.png")
    (tmp_path / "elsewhere.png").write_bytes(image_bytes(77))
    (src / "dog/outside.png").symlink_to(tmp_path / "elsewhere.png")
    for link in LINKS:
        dst = place(clean(src, tmp_path / link, link, follow_links=True))
        assert (dst / "dog/inside.png").samefile(src / "dog/b.png")
        assert (dst / "dog/outside.png").samefile(tmp_path / "elsewhere.png")
        assert (dst / "dog/inside.png").is_symlink() == (link == "symbolic")
        if link == "symbolic":
            assert (dst / "dog/inside.png").readlink() == src / "dog/b.png"


def test_an_output_of_symbolic_links_is_read_with_its_links_followed(tmp_path: Path) -> None:
    result = clean(folder(tmp_path / "src"), tmp_path / "dst", "symbolic")
    source = open_source(f"folder:{result.path}", **output_options(result.config))
    assert {sample.id for sample in source.samples if not sample.problem} == set(
        filter(None, result.table["output"].to_pylist())
    )
    assert len(result.dataset()) == len(source.samples)


@pytest.mark.parametrize("link", LINKS)
def test_an_interrupted_run_goes_on_with_the_same_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: Link
) -> None:
    def interrupt(self: SinkWithBackup) -> None:
        raise KeyboardInterrupt

    src = folder(tmp_path / "src")
    before = state(src)
    with monkeypatch.context() as patch:
        patch.setattr(SinkWithBackup, "close", interrupt)
        with pytest.raises(KeyboardInterrupt):
            clean(src, tmp_path / "dst", link)
    with pytest.raises(ElixirError, match=r"other settings \(link\)"):
        judged().run(src, tmp_path / "dst", resume=True)
    result = clean(src, tmp_path / "dst", link, resume=True)
    assert shared(result, src) == untouched(result) | {"notes.txt", ".git/config"}
    assert state(src) == before


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM])
def test_what_cannot_be_linked_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(source: str, target: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr("elixir.pipeline.Pipeline._execute", lambda *_: pytest.fail("the work has begun"))
    src = folder(tmp_path / "src")
    with pytest.raises(ElixirError, match=rf"cannot have a hard link: {os.strerror(code).lower()}; give a folder on"):
        clean(src, tmp_path / "dst", "hard")
    assert list(tmp_path.iterdir()) == [src]


def test_every_file_system_of_the_input_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared_memory = Path("/dev/shm")
    if not os.access(shared_memory, os.W_OK) or shared_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs another file system")
    src = make_tree(tmp_path / "src", IMAGES)
    away = shared_memory / f"elixir-{os.getpid()}.png"
    try:
        away.write_bytes(image_bytes(99))
        (src / "dog/z.png").symlink_to(away)
        with pytest.raises(ElixirError, match=r"dog/z\.png cannot have a hard link"):
            clean(src, tmp_path / "dst", "hard", follow_links=True)
        assert place(clean(src, tmp_path / "dst", "symbolic", follow_links=True)).is_dir()
    finally:
        away.unlink()


def test_clones_are_taken_where_the_file_system_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cloning(source: BinaryIO, new: BinaryIO) -> bool:
        new.write(source.read())
        return True

    monkeypatch.setattr("elixir.data.files.placing.clone", cloning)
    monkeypatch.setattr("elixir.data.io.clone", cloning)
    src = folder(tmp_path / "src")
    result = clean(src, tmp_path / "dst", "hard")
    assert shared(result, src) == set()
    assert not any("links" in note for note in result.notes)
    (src / "dog/b.png").write_bytes(b"edited in place")
    assert restore(place(result), tmp_path / "back") == 5


def test_a_clone_is_asked_of_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("fcntl.ioctl", lambda new, request, source: asked.append((new.fileno(), request, source)))
    (tmp_path / "file").write_bytes(b"data")
    with (tmp_path / "file").open("rb") as source, (tmp_path / "new").open("wb") as new:
        assert clone(source, new)
        assert asked == [(new.fileno(), FICLONE, source.fileno())]


def test_links_are_for_files_of_files(tmp_path: Path) -> None:
    src = folder(tmp_path / "src")
    with pytest.raises(ElixirError, match=r"output \(parquet\) of .*src \(folder\) cannot link to its input"):
        clean(src, tmp_path / "dst", "hard", to="parquet")
    with pytest.raises(ElixirError, match=r"output \(folder\) of .* \(hf\) cannot link"):
        judged().run(table(), tmp_path / "dst", to="folder", link="symbolic")
    with pytest.raises(ElixirError, match="link 'soft' is none of hard, symbolic"):
        judged().run(src, tmp_path / "dst", link="soft")  # type: ignore[arg-type]
    with pytest.raises(ElixirError, match="of which none are written"):
        judged().without_dataset().run(src, tmp_path / "dst", link="hard")
    assert list(tmp_path.iterdir()) == [src]


def test_no_links_into_a_copy_of_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELIXIR_CACHE", str(tmp_path / "cache"))
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", folder(tmp_path / "src"))
    source = open_source(archive)
    with pytest.raises(ElixirError, match=r"photos\.zip is read from a copy that may change or be removed"):
        open_sink("folder", tmp_path / "dst", source, link="symbolic")


def test_options_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Link | None] = []

    def run(self: Any, src: Any, dst: Any, *, link: Link | None, **_: Any) -> None:
        given.append(link)
        raise ElixirError("enough")

    monkeypatch.setattr("elixir.pipeline.Pipeline.run", run)
    for options in ((), ("--link",), ("--symlink",), ("--link", "--symlink")):
        assert elixir(monkeypatch, "sanitize", "src", "-o", tmp_path / "dst", *options) == 1
    assert given == [None, "hard", "symbolic"]
    assert "give one of them" in capsys.readouterr().err
