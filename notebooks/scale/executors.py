"""What executors make of cores: `python notebooks/scale/executors.py TABLE.parquet [--samples 4000] [--index-alone]`.

For each executor and number of workers, seconds of the stages index and probe on the first samples of a table, by the
clock and of all processes together on the processor, with one thread a process. The reference model between them is
trained for one pass. Start-up is the stage index once before, with the start of all processes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table

from elixir.data.open import open_source
from elixir.engine.execution import execute
from elixir.engine.executors import open_executor
from elixir.engine.opening import open_run
from elixir.pipeline import Pipeline
from elixir.registry import find

PLANS = (("local", 1), ("ray", 1), ("ray", 2))
STAGES = ("index", "probe")


def main() -> None:
    """Measure every plan, each in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--index-alone", action="store_true", help="the networks take most of the time")
    parser.add_argument("--plan", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plan:
        print(json.dumps(measure(given.table, given.plan[0], int(given.plan[1]), given.index_alone)))
        return
    console = Console()
    stages = STAGES[:1] if given.index_alone else STAGES
    shown = Table("executor", "workers", "start", *(f"{stage}, {unit}" for stage in stages for unit in ("s", "CPU s")))
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "first.parquet"
        pq.write_table(pq.read_table(given.table).slice(0, given.samples), table)
        for executor, workers in PLANS:
            command = [sys.executable, __file__, str(table), "--plan", executor, str(workers)]
            command += ["--index-alone"] if given.index_alone else []
            one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, env=one_thread, stdout=subprocess.PIPE, check=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            values = [found["start"], *(value for stage in stages for value in found[stage])]
            shown.add_row(executor, str(workers), *(f"{value:.1f}" for value in values))
    console.print(shown)


def measure(table: Path, executor: str, workers: int, index_alone: bool) -> dict[str, object]:
    """Seconds of start-up, and of each stage by the clock and on the processor."""
    made = Pipeline.from_recipe("dataelixir", {"reference.epochs": 1, "reference.least_steps": 1})
    source, device = open_source(table), torch.device("cpu")
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        networks = {"load_purifier": find("purifiers", made.purifier), "prior": None, "reference": None}
        same = {"source": source, "thresholds": made.thresholds, "training": made.training}
        opened_on = partial(open_run, folder=Path(folder) / "run", **networks, **same)
        start = time.perf_counter()
        with open_executor(executor, opened_on, device, None, workers, quiet=True) as at_work:
            run = opened_on(device, workers=workers, executor=at_work)
            execute(run, made["index"])  # so that all processes are there
            found["start"] = time.perf_counter() - start
            for kept in ("columns", "done"):
                shutil.rmtree(run.folder / kept)
                (run.folder / kept).mkdir()
            for stage in ("index", *(() if index_alone else ("reference", "probe"))):
                start, spent = time.perf_counter(), _processor_seconds()
                execute(run, made[stage])
                found[stage] = time.perf_counter() - start, _processor_seconds() - spent
    return found


def _processor_seconds() -> float:
    """Seconds on the processor of this process and all that it has started and that still run."""
    parent, seconds = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        pid = int(path.parent.name)
        parent[pid], seconds[pid] = int(after[1]), (int(after[11]) + int(after[12])) / os.sysconf("SC_CLK_TCK")
    ours = {os.getpid()}
    while grown := {pid for pid, of in parent.items() if of in ours} - ours:
        ours |= grown
    return sum(seconds[pid] for pid in ours)


if __name__ == "__main__":
    main()
