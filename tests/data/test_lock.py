"""Locks between processes."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from elixir.data.workdir import locked
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
