"""A ray cluster of two nodes on this machine gives the bytes of this process, whatever is killed on the way."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from small_world import FAST, make_shapes

from elixir.data.columns import Columns
from elixir.engine.execution import execute
from elixir.engine.run import Run
from elixir.engine.stage import Stage
from elixir.errors import ElixirError
from elixir.pipeline import Pipeline
from elixir.result import Result
from elixir.stages.probe import ProbeStage

cluster_utils = pytest.importorskip("ray.cluster_utils")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # ray warns of its own future
PART = 40
CLOCK = {"out/.elixir/timings.json", "out/.elixir/report.html"}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of the cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        cluster.add_node(num_cpus=1)
        yield cluster.address
        cluster.shutdown()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_shapes(tmp_path_factory.mktemp("source") / "shapes")
    (root / "post" / "broken.png").write_bytes(b"no image")
    return root


@dataclass
class Fragile(ProbeStage):
    """The stage of a plug-in whose process is killed once, when it has worked on half of a part.

    Args:
        mark: a file that says that this has happened.
    """

    mark: str = ""

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        columns = super().process(run, indices)
        Path(self.mark).parent.joinpath(f"worker-{os.getpid()}").touch()
        if indices[0] >= PART and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return columns


@dataclass
class Fails(ProbeStage):
    """The stage of a plug-in that cannot go on."""

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        raise ElixirError("the disk is full") from OSError(28, "no space left on device")


def pipeline(probe: Stage | None = None) -> Pipeline:
    made = Pipeline.from_recipe("dataelixir", FAST)
    made.stages = [probe if probe and stage.name == "probe" else stage for stage in made.stages]
    return made


def contents(root: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name not in CLOCK}


def finished(made: Pipeline, source: Path, folder: Path, **options: object) -> tuple[Result, dict[str, bytes]]:
    """What a run gives, and all files that it leaves, its columns and models among them."""

    def keep(run: Run, stage: Stage) -> None:
        execute(run, stage)
        if stage.name == "write":
            for name in ("columns", "models"):
                shutil.copytree(run.folder / name, folder / name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elixir.engine.execution.PART", PART)
        patch.setattr("elixir.pipeline.execute", keep)
        result = made.run(source, folder / "out", batch_size=PART // 2, **options)  # type: ignore[arg-type]
    return result, contents(folder)


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """All files of a run in this process."""
    return finished(pipeline(), source, tmp_path_factory.mktemp("local"))[1]


def differences(files: dict[str, bytes], expected: dict[str, bytes]) -> set[str]:
    return {name for name in files.keys() | expected.keys() if files.get(name) != expected.get(name)}


def test_it_gives_the_same_bytes_though_a_process_is_killed_and_a_sample_unreadable(
    address: str, source: Path, expected: dict[str, bytes], tmp_path: Path
):
    marks = tmp_path / "marks"
    marks.mkdir()
    stage = Fragile(mark=str(marks / "killed"))
    result, files = finished(pipeline(stage), source, tmp_path / "run", executor="ray", address=address)
    assert (marks / "killed").exists()
    workers = {path.name for path in marks.glob("worker-*")}
    assert len(workers) == 3  # one a node, and the one in place of the killed one
    assert f"worker-{os.getpid()}" not in workers
    assert {name.partition("/")[0] for name in files} == {"columns", "models", "out"}
    told = {"out/.elixir/run.json"}  # which has the settings of the stages, the mark too
    assert differences(files, expected) <= told
    broken = [row for row in result.table.to_pylist() if row["name"].startswith("broken")]
    assert [row["action"] for row in broken] == ["quarantined"]


KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
import elixir.engine.execution
import small_world
from elixir.pipeline import Pipeline

source, folder, part, address = sys.argv[1:]
elixir.engine.execution.PART = int(part)

def kill():
    while len([*folder.parent.glob(".*/columns/probe/*.parquet")]) < 2:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)

folder = Path(folder)
threading.Thread(target=kill, daemon=True).start()
options = {"executor": "ray", "address": address} if address else {}
Pipeline.from_recipe("dataelixir", small_world.FAST).run(source, folder, batch_size=2, **options)
"""


@pytest.mark.parametrize("first", ["local", "ray"])
def test_what_one_executor_has_begun_the_other_one_goes_on_with(
    address: str, source: Path, expected: dict[str, bytes], tmp_path: Path, first: str
):
    folder = tmp_path / "run"
    given = [source, folder / "out", PART, address if first == "ray" else ""]
    paths = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, given)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    options = {"executor": "ray", "address": address} if first == "local" else {}
    _, files = finished(pipeline(), source, folder, resume=True, **options)
    assert differences(files, expected) == set()


def test_errors_of_workers_are_what_they_were(address: str, source: Path, tmp_path: Path):
    with pytest.raises(ElixirError, match=r"^the disk is full$") as error:
        finished(pipeline(Fails()), source, tmp_path, executor="ray", address=address, workers=1)
    assert isinstance(error.value.__cause__, OSError)
    assert [*tmp_path.glob(".*partial*/columns/reference/*.parquet")]  # to go on with


def test_a_cluster_that_is_not_there_is_an_error_for_people(source: Path, tmp_path: Path):
    with pytest.raises(
        ElixirError, match=r"there is no ray cluster at 127\.0\.0\.1:1: .*start one with ray start --head"
    ):
        pipeline().run(source, tmp_path / "out", executor="ray", address="127.0.0.1:1")


HEARS = """
import signal
from elixir.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell is deaf to it
main()
"""


def descendants(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(of) for child, of in map(str.split, listed.splitlines())}
    found = [pid]
    for parent in found:
        found += [child for child, of in parents.items() if of == parent]
    return found[1:]


def test_an_interruption_leaves_no_process_behind(source: Path, tmp_path: Path):
    settings = [f"--set={key}={value}" for key, value in FAST.items() if key != "purifier"]
    command = ["-c", HEARS, "sanitize", source, "-o", tmp_path / "out", "--executor", "ray", *settings]
    with subprocess.Popen(
        [sys.executable, *map(str, command)], start_new_session=True, stderr=subprocess.PIPE, text=True
    ) as run:
        while not [*tmp_path.glob(".out*/columns/index/*.parquet")]:
            assert run.poll() is None
            time.sleep(0.1)
        started = descendants(run.pid)
        assert len(started) > 2
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
        said = run.communicate()[1]
        assert run.returncode == 130
    assert said.splitlines()[-1].startswith("elixir: interrupted; the same command goes on from here")
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
