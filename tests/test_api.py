"""Whole runs on a small world: what lies at the destination, and that nothing but the input decides it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from small_world import FAST, place

from elixir.api import sanitize, scan
from elixir.data.restore import restore
from elixir.engine.execution import execute
from elixir.engine.run import Run
from elixir.engine.stage import Stage
from elixir.errors import ElixirError
from elixir.result import Result

CLOCK = ".elixir/timings.json"


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def without_clock(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(root).items() if name != CLOCK}


@pytest.fixture(scope="module")
def known(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a run that was interrupted when it had flagged samples and decided about none."""

    def execute_until(run: Run, stage: Stage) -> None:
        if stage.name == "relabel":
            raise KeyboardInterrupt
        execute(run, stage)

    clean = tmp_path_factory.mktemp("known") / "clean"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elixir.pipeline.execute", execute_until)
        with pytest.raises(KeyboardInterrupt):
            sanitize(shapes, clean, settings=FAST)
    return clean.with_name(".clean.elixir-partial")


def completed(known: Path, shapes: Path, folder: Path, policy: str = "relabel") -> Result:
    """What becomes of that run under a policy, which matters from there on only."""
    work = Path(shutil.copytree(known, folder / known.name))
    config = json.loads((work / "run.json").read_text())
    (work / "run.json").write_text(json.dumps(config | {"policy": policy}))
    return sanitize(shapes, folder / "clean", settings=FAST, policy=policy, resume=True)


@pytest.fixture(scope="module")
def run(known: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return completed(known, shapes, tmp_path_factory.mktemp("run"))


@pytest.mark.slow
def test_every_sample_is_accounted_for(run: Result, shapes: Path):
    table = run.table.to_pylist()
    assert {row["id"] for row in table} == {str(p.relative_to(shapes)) for p in shapes.rglob("*.png")}
    for row in table:
        if row["action"] == "kept":
            assert (place(run) / row["output"]).read_bytes() == (shapes / row["id"]).read_bytes()
            assert row["sha256_in"] == row["sha256_out"]
        else:
            assert (place(run) / row["original"]).read_bytes() == (shapes / row["id"]).read_bytes()


@pytest.mark.slow
def test_the_work_folder_is_gone(run: Result):
    assert [path.name for path in place(run).parent.iterdir()] == ["clean"]


@pytest.mark.slow
def test_restore_gives_the_input_back(run: Result, shapes: Path, tmp_path: Path):
    assert restore(place(run), tmp_path / "back") == run.table.num_rows
    assert contents(tmp_path / "back") == contents(shapes)


@pytest.mark.slow
def test_result_is_complete(run: Result):
    assert len(run.dataset()) == sum(row["output"] != "" for row in run.table.to_pylist())
    json.dumps(run.as_dict())
    assert "function evaluations of the purifier and" in run.summary()
    assert [(label.name, label.flagged) for label in run.attacked] == [
        ("spot", sum(row["flagged"] for row in run.table.to_pylist() if row["class"] == "spot"))
    ]
    told = pq.read_table(place(run) / ".elixir" / "labels.parquet").to_pylist()
    assert {row["class"] for row in told if row["attacked"]} == {"spot"}
    assert {row["class"] for row in told} == {report.name for report in run.labels} == {"bar", "post", "spot"}
    assert all(row["poison_score"] > 0 for row in run.table.to_pylist() if row["flagged"])
    page = (place(run) / ".elixir" / "report.html").read_text()
    assert "spot is under attack" in page
    shown = json.loads(page.split('id="data">')[1].split("</script>")[0])["rows"]
    changed = {row["id"] for row in run.table.to_pylist() if row["action"] in ("relabelled", "purified")}
    pictures = dict(zip(shown["id"], shown["pictures"], strict=True))
    assert {id for id, count in pictures.items() if count == 2} == changed
    assert set(pictures.values()) == {1, 2}


@pytest.mark.slow
def test_batch_size_workers_and_what_is_overwritten_change_no_byte(run: Result, shapes: Path, tmp_path: Path):
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "old").write_text("old")
    sanitize(shapes, tmp_path / "clean", settings=FAST, batch_size=16, workers=5, overwrite=True)
    assert without_clock(tmp_path / "clean") == without_clock(place(run))


@pytest.mark.slow
def test_an_interrupted_run_goes_on(run: Result, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pairs = [item for key, value in FAST.items() for item in ("--set", f"{key}={json.dumps(value)}")]
    script = "import small_world; from elixir.cli import main; main()"
    command = [sys.executable, "-c", script, "sanitize", str(shapes), "-o", str(tmp_path / "clean"), "--quiet", *pairs]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    work = tmp_path / ".clean.elixir-partial"
    for marker in (
        "done/index.json",
        "models/reference.checkpoint",
        "columns/probe",
        "models/clean.checkpoint",
        "repaired",
    ):
        process = subprocess.Popen([*command, *(["--resume"] if work.exists() else [])], env=environment)
        while process.poll() is None and not (work / marker).exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "clean").exists()
    (work / "models" / ".tmp0000").write_text("left by a killed run")
    with pytest.raises(ElixirError, match="--resume to go on"):
        sanitize(shapes, tmp_path / "clean", settings=FAST)
    with pytest.raises(ElixirError, match="other settings \\(seed\\)"):
        sanitize(shapes, tmp_path / "clean", settings=FAST, seed=1, resume=True)
    with monkeypatch.context() as upgraded:
        upgraded.setattr("elixir.__version__", "9.9", raising=False)
        with pytest.raises(ElixirError, match="other settings \\(version\\)"):
            sanitize(shapes, tmp_path / "clean", settings=FAST, resume=True)
    resumed = sanitize(shapes, tmp_path / "clean", settings=FAST, resume=True)
    assert without_clock(tmp_path / "clean") == without_clock(place(run))
    assert resumed.nfe_per_sample >= run.nfe_per_sample


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["drop", "quarantine"])
def test_poisoned_samples_may_be_left_out(known: Path, shapes: Path, tmp_path: Path, policy: str, run: Result):
    left = completed(known, shapes, tmp_path, policy)
    gone = {row["id"] for row in run.table.to_pylist() if row["action"] != "kept"}
    actions = {row["id"]: row["action"] for row in left.table.to_pylist() if row["action"] != "kept"}
    assert actions.keys() == gone
    assert set(actions.values()) == {"dropped" if policy == "drop" else "quarantined"}
    assert restore(place(left), tmp_path / "back") == run.table.num_rows
    assert contents(tmp_path / "back") == contents(shapes)


@pytest.mark.slow
def test_scan_writes_no_images(shapes: Path, tmp_path: Path):
    result = scan(shapes, tmp_path / "findings", settings=FAST)
    assert {Path(name).parts[0] for name in contents(tmp_path / "findings")} == {".elixir"}
    assert result.table.num_rows == len(pq.read_table(tmp_path / "findings/.elixir/manifest.parquet"))
