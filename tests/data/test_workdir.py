"""Work folders beside a destination, settings that must be the same, and locks between processes."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from elixir.data.workdir import WorkDir, changed_settings, locked, refuse_other_settings
from elixir.errors import ElixirError

HOLD = """
import sys
from pathlib import Path
from elixir.data.workdir import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_ends_with_the_process_that_holds_it(tmp_path: Path):
    path = tmp_path / "new" / ".out.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ElixirError, match="another run is at work here"), locked(path):
            pass
        other.kill()
        with locked(path, wait=True):
            assert path.exists()
            with pytest.raises(ElixirError, match="another run is at work here"), locked(path):
                pass
    assert not path.exists()
    with locked(path):
        pass


def test_a_lock_that_is_removed_while_it_is_waited_for_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its holder may end after another process has opened the file and before that has locked it."""
    path, flock = tmp_path / "lock", fcntl.flock

    def late(file: int, operation: int) -> None:
        monkeypatch.undo()
        path.unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(path, wait=True):
        assert fcntl.flock is flock
        with pytest.raises(ElixirError, match="another run is at work here"), locked(path):
            pass


def test_an_error_inside_gives_it_up(tmp_path: Path):
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path / "lock"):
            raise KeyError
    assert not (tmp_path / "lock").exists()


def test_a_place_where_nothing_can_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ElixirError, match=r"cannot write .*file/lock: "), locked(tmp_path / "file" / "lock"):
        pass


SETTINGS = {"seed": 0, "sigmas": (0.1, 0.2), "source": "here"}


def begun(dst: Path) -> WorkDir:
    work = WorkDir(dst)
    work.prepare(SETTINGS)
    work.begin(SETTINGS)
    (work.path / "half.done").touch()
    return work


def test_a_finished_run_leaves_its_output_alone(tmp_path: Path):
    work = begun(tmp_path / "out")
    work.sign(SETTINGS)
    assert not work.finished(SETTINGS)
    work.publish()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "out",
        "out/.elixir",
        "out/.elixir/run.json",
    ]
    assert work.finished(SETTINGS)
    assert not work.finished({**SETTINGS, "seed": 1})
    assert work.finished({**SETTINGS, "seed": 1}, but={"seed"})


def test_only_the_same_settings_go_on(tmp_path: Path):
    work = begun(tmp_path / "out")
    with pytest.raises(ElixirError, match=r"interrupted run .* add --resume to go on with it, or remove .*partial"):
        work.prepare(SETTINGS)
    with pytest.raises(ElixirError, match=r"other settings \(more, seed\); repeat them"):
        work.prepare({**SETTINGS, "seed": 1, "more": None}, resume=True)
    work.prepare({**SETTINGS, "source": "there"}, resume=True, but={"source"})
    assert (work.path / "half.done").exists()
    work.prepare(SETTINGS, overwrite=True)
    assert not work.path.exists()


def test_work_without_its_settings_is_not_gone_on_with(tmp_path: Path):
    work = begun(tmp_path / "out")
    (work.path / "run.json").unlink()
    work.prepare(SETTINGS, resume=True)
    assert not work.path.exists()


def test_what_has_come_to_be_at_the_destination_is_kept(tmp_path: Path):
    work = begun(tmp_path / "out")
    work.sign(SETTINGS)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(ElixirError, match="has been filled while the run was at work; move it away and add --resume"):
        work.publish()
    assert (tmp_path / "out" / "mine").exists()
    work.publish(overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".elixir"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def read_only(folder: Path) -> Path:
    """A folder whose folders are all read-only, as they are copied from media that are."""
    (folder / "test").mkdir(parents=True)
    (folder / "test" / "image").touch()
    (folder / "test" / "outside").symlink_to(folder.parent)
    for path in (folder / "test" / "image", folder / "test", folder):
        path.chmod(path.stat().st_mode & ~0o222)
    return folder


def as_no_superuser(patch: pytest.MonkeyPatch) -> None:
    """Permissions bind the tests too, whoever runs them."""

    def writable(folder: Path) -> None:
        if not folder.stat().st_mode & 0o200:
            raise PermissionError(13, "Permission denied")

    unlink, rmdir, replace = os.unlink, os.rmdir, os.replace

    def checked(function: Any) -> Any:
        def removing(path: Any, *rest: Any, dir_fd: int | None = None) -> None:
            parent = Path(path).parent if dir_fd is None else Path(f"/proc/self/fd/{dir_fd}")
            writable(parent)
            function(path, *rest, **({} if dir_fd is None else {"dir_fd": dir_fd}))

        return removing

    def moving(path: Path, to: Path) -> None:
        if path.is_dir() and path.parent != to.parent:
            writable(path)
        replace(path, to)

    patch.setattr("os.unlink", checked(unlink))
    patch.setattr("os.rmdir", checked(rmdir))
    patch.setattr("os.replace", moving)


def test_what_is_read_only_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    work = begun(tmp_path / "out")
    read_only(tmp_path / "out")
    mode = tmp_path.stat().st_mode
    with monkeypatch.context() as patch:
        as_no_superuser(patch)
        with pytest.raises(PermissionError):
            shutil.rmtree(tmp_path / "out")
        with pytest.raises(PermissionError):
            os.replace(tmp_path / "out", work.path / "moved")
        work.sign(SETTINGS)
        work.publish(overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".elixir"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert tmp_path.stat().st_mode == mode  # a link there was not followed


def test_what_is_read_only_in_a_work_folder_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    work = begun(tmp_path / "out")
    read_only(work.output)
    with monkeypatch.context() as patch:
        as_no_superuser(patch)
        work.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_long_name_has_a_work_folder(tmp_path: Path):
    work = begun(tmp_path / ("x" * 255))
    with work.alone():
        work.sign(SETTINGS)
        work.publish()
    assert work.finished(SETTINGS)


def test_other_settings_are_named():
    known = json.loads(json.dumps(SETTINGS))
    assert changed_settings(known, SETTINGS) == []
    assert changed_settings(known, {**SETTINGS, "sigmas": [0.1]}) == ["sigmas"]
    assert changed_settings(known, {"seed": 0}) == ["sigmas", "source"]
    assert changed_settings({"seed": None}, {"old": None}) == ["old", "seed"]
    refuse_other_settings(known, SETTINGS, "never", "never")
    with pytest.raises(ElixirError, match=r"^x is of others \(seed\); choose y$"):
        refuse_other_settings(known, SETTINGS | {"seed": 1}, "x is of others", "choose y")
