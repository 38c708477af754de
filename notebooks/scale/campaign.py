"""What all campaigns share: the command in a process of its own, trees of files, and tables of results."""

import atexit
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded: a process with threads is not to be forked

import numpy as np
import torch

import elixir.api
import elixir.cli
import elixir.pages.for_people
import elixir.purifiers.classical
from elixir.pipeline import Pipeline

torch.set_num_threads(1)
RESULTS = Path(__file__).parent / "results"
LIMIT = 300
"""Seconds after which a run hangs; on a free machine it takes a few, and half a minute in a ray cluster."""
CLOCK = ".elixir/timings.json"
"""The one file of an output that tells how long something took."""
STAGES = [stage.name for stage in Pipeline.from_recipe("dataelixir").stages]
MOMENTS = ("opening", *STAGES, "evidence", "cleanup")
"""What a run is doing, in order; the output has its name when the cleanup begins."""


@dataclass(frozen=True)
class Ended:
    """How a command has ended.

    Attributes:
        code: its exit code, or the negative number of the signal that ended it.
        said: all that it printed.
        seconds: from start to end.
        memory: resident at its peak, in MiB.
    """

    code: int
    said: str
    seconds: float
    memory: int

    @property
    def refused(self) -> bool:
        """Whether it ended with an error for people."""
        return self.code == 1 and self.said.startswith("elixir: ") and "Traceback" not in self.said


class Command:
    """`elixir ARGUMENTS` in a fork of this process, which has imported everything already."""

    def __init__(self, *arguments: object, said: Path) -> None:
        self._said, self._start = said, time.perf_counter()
        self.pid = os.fork()
        if not self.pid:
            _become([str(argument) for argument in arguments], said)
        self._ended: Ended | None = None

    def poll(self) -> Ended | None:
        """How it has ended, or None."""
        if not self._ended:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                seconds = time.perf_counter() - self._start
                said = self._said.read_text(errors="replace") if self._said.exists() else ""
                self._ended = Ended(os.waitstatus_to_exitcode(status), said, seconds, used.ru_maxrss >> 10)
        return self._ended

    def wait(self, limit: float = LIMIT) -> Ended:
        """How it ends; after `limit` seconds more it is killed."""
        deadline = time.perf_counter() + limit
        while not self.poll():
            if time.perf_counter() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        assert self._ended
        return self._ended

    def left_processes(self, patience: float = 10) -> bool:
        """Whether processes that it started are still there so many seconds after its end."""
        deadline = time.perf_counter() + patience
        with suppress(ProcessLookupError):
            while time.perf_counter() < deadline:
                os.killpg(self.pid, 0)
                time.sleep(0.05)
            return True
        return False


def _become(arguments: list[str], said: Path) -> None:
    code: Any = 1
    try:
        os.setsid()
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(file, stream)
        sys.argv = ["elixir", *arguments]
        elixir.cli.main()
    except SystemExit as end:
        code = end.code or 0
    except KeyboardInterrupt:
        code = -signal.SIGINT  # between the command and the end of the process
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            atexit._run_exitfuncs()
            sys.stdout.flush()
        os._exit(code % 256)


def moment(dst: Path) -> str:
    """What a run that writes to `dst` is doing, or was when it ended; "done" if nothing is left to do."""
    work = work_folder(dst)
    if dst.exists():
        return "cleanup" if work.exists() else "done"
    if not (work / "run.json").exists():
        return "opening"
    return MOMENTS[1 + sum((work / "done" / f"{stage}.json").exists() for stage in STAGES)]


def begun(name: str, dst: Path) -> bool:
    """Whether a run that writes to `dst` has come to a moment."""
    before = MOMENTS[MOMENTS.index(name) - 1]
    if name == "opening":
        return True
    if name == "cleanup":
        return dst.exists()
    return (work_folder(dst) / (f"done/{before}.json" if before in STAGES else "run.json")).exists()


def undisturbed(start: Callable[[], Command], dst: Path) -> tuple[dict[str, float], dict[str, bytes | str]]:
    """Seconds that a run which writes to `dst` spends on each of `MOMENTS`, and its output."""
    since: dict[str, float] = {"opening": 0.0}
    begin, command = time.perf_counter(), start()
    while not command.poll():
        since.setdefault(moment(dst), time.perf_counter() - begin)  # "done" too, when all that is left is to exit
        time.sleep(0.0005)
    ended = command.wait()
    if ended.code:
        raise RuntimeError(f"a run that nobody has disturbed ended with {ended}")
    since.setdefault("done", ended.seconds)
    later = [*(name for name in MOMENTS if name in since), "done"]
    takes = {name: since[after] - since[name] for name, after in pairwise(later)}
    return {name: takes.get(name, 0.0) for name in MOMENTS}, contents(dst)


def come_to(name: str, takes: float, rng: np.random.Generator, command: Command, dst: Path) -> bool:
    """Wait until a run is somewhere in a moment that takes so many seconds; False if it ends before, or hangs."""
    deadline = time.perf_counter() + LIMIT
    while not begun(name, dst):
        if command.poll() or time.perf_counter() > deadline:
            return False
        time.sleep(0.0005)
    time.sleep(rng.uniform(0, takes))
    return not command.poll()


def work_folder(dst: Path) -> Path:
    """Where a run keeps its work."""
    return dst.with_name(f".{dst.name}.elixir-partial")


def contents(folder: Path) -> dict[str, bytes | str]:
    """Everything in a folder by its path there: the bytes of files, and what others are."""
    found: dict[str, bytes | str] = {}
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            key = str(path.relative_to(folder))
            found[key] = _content(path)
    return found


def _content(path: Path) -> bytes | str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    return "folder" if path.is_dir() else path.read_bytes() if path.is_file() else "neither file nor folder"


def differences(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Paths of all but the clock that two folders do not have alike."""
    return sorted(path for path in one.keys() | other.keys() if path != CLOCK and one.get(path) != other.get(path))


@contextmanager
def scratch() -> Iterator[Path]:
    """A new folder, removed at the end; unlike those of `tempfile`, forks of this process leave it alone."""
    folder = Path(tempfile.mkdtemp(prefix="elixir-campaign-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(name: str, told: str, facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], every: Any = ()) -> None:
    """Write the results of a campaign: a table of rows in Markdown, and all of it, `every` single case too, in JSON."""
    RESULTS.mkdir(exist_ok=True)
    facts = {**facts, "elixir": elixir.__version__, "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    as_json = {"facts": facts, "rows": rows, "cases": list(every)}
    (RESULTS / f"{name}.json").write_text(json.dumps(as_json, indent=1) + "\n")
    lines = [told, "", ", ".join(f"{key}: {value}" for key, value in facts.items()), ""]
    if rows:
        lines += ["| " + " | ".join(map(str, line)) + " |" for line in (rows[0], ["---"] * len(rows[0]))]
        lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n")
