"""The executor that spreads parts and trainings over the processes of a ray cluster, here or on many machines.

A part is worked on by an actor, which holds the source and the networks and has one thread, or one GPU. So is a
training, but where this process has more threads it is a task with as many, as their number decides how its sums are
rounded; that of readings does not matter. What is found lies in the run folder, which all machines share, so that only
costs come back.
"""

import hashlib
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import RayError, RayTaskError
from ray.util import ActorPool

from elixir.engine.cost import Cost, Meter
from elixir.engine.executor import Advance, Executor, work_on
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.engine.training import Training
from elixir.errors import ElixirError, UnreadableSample, explaining

RETRIES = 3
"""How often a part or training begins again whose process was lost: it may be what kills the process."""


@contextmanager
def on_ray(
    open_run: Callable[..., Run],
    device: torch.device,
    address: str | None = None,
    workers: int | None = None,
    quiet: bool = True,
) -> Iterator[Executor]:
    """The executor, and a cluster for it while the context lasts.

    Args:
        open_run: opens the run in another process, from a device, `workers` and a `meter`.
        device: of the kind that the networks run on.
        address: of a running cluster, "auto" for the one of this machine; by default one is started here, unless this
            process has called `ray.init`.
        workers: actors; by default one for each GPU of the cluster where the networks run on such, else for each core.
        quiet: nothing that workers print is shown.

    Raises: ElixirError: there is no cluster at the address.
    """
    begun = not ray.is_initialized()
    with redirect_stdout(sys.stderr):  # where ray tells of processes that are lost
        if begun:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            what, remedy = f"there is no ray cluster at {address or 'this machine'}", "start one with ray start --head"
            with explaining((OSError, RuntimeError, ValueError), what, remedy):
                _call(address or "")
                ray.init(address or "local", log_to_driver=not quiet, logging_level="ERROR")
        try:
            yield OnRay(open_run, torch.device(device.type), workers)
        finally:
            if begun:
                ray.shutdown()


def _call(address: str) -> None:
    """Raise an OSError where nobody answers, for which ray would wait a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


class OnRay:
    """See `elixir.engine.executor.Executor`, and `on_ray`."""

    def __init__(self, open_run: Callable[..., Run], device: torch.device, workers: int | None) -> None:
        self._open_run = open_run
        self._device = device
        self._workers = workers
        self._pool: ActorPool | None = None
        self._kept_setup: ray.ObjectRef | None = None

    def map(self, run: Run, stage: MapStage, parts: Mapping[int, np.ndarray], advance: Advance) -> None:
        work = [self._setup(run), ray.put((stage, dict(run.facts)))]  # a reference in a list is followed when asked for
        with _errors_of_workers(f"in stage {stage.name}"):
            costs = self._actors().map_unordered(
                lambda worker, part: worker.work_on.remote(stage.name, work, *part), [*parts.items()]
            )
            for number, cost in costs:
                run.meter.add(cost)
                advance(len(parts[number]))

    def train(self, run: Run, trainings: Sequence[Training]) -> None:
        names = ", ".join(training.name for training in trainings)
        with run.progress.task(names, len(trainings)) as advance, _errors_of_workers(f"in training {names}"):
            for cost in self._trained(run, trainings):
                run.meter.add(cost)
                advance(1)

    def _trained(self, run: Run, trainings: Sequence[Training]) -> Iterator[Cost]:
        work, threads = [self._setup(run), ray.put(dict(run.facts))], torch.get_num_threads()
        if threads == 1 or self._device.type == "cuda":
            yield from self._actors().map_unordered(lambda actor, one: actor.train.remote(work, one), [*trainings])
            return
        cores = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
        task = ray.remote(_train).options(num_cpus=min(threads, cores), max_retries=RETRIES, runtime_env=_imports())
        waiting = [task.remote(work, training, threads) for training in trainings]
        while waiting:
            done, waiting = ray.wait(waiting)
            yield ray.get(done[0])

    def _actors(self) -> ActorPool:
        if self._pool is None:
            resources = ray.cluster_resources()
            cores, gpus = (int(resources.get(name, 0)) for name in ("CPU", "GPU"))
            on_gpu = self._device.type == "cuda"
            if on_gpu and not gpus:
                raise ElixirError("the ray cluster has no GPU; give --device cpu, or the --address of one that has")
            placed: dict[str, Any] = {"num_gpus": 1} if on_gpu else {"scheduling_strategy": "SPREAD"}
            lasting = {"max_restarts": -1, "max_task_retries": RETRIES, "runtime_env": _imports()}
            actor = ray.remote(_Worker).options(**placed, **lasting)
            decoding = max(1, cores // gpus) if on_gpu else 1
            count = self._workers or (gpus if on_gpu else cores)
            self._pool = ActorPool([actor.remote(decoding) for _ in range(count)])
        return self._pool

    def _setup(self, run: Run) -> ray.ObjectRef:
        if self._kept_setup is None:
            self._kept_setup = ray.put(_Setup(self._open_run, self._device, run.folder, *_first_sample(run)))
        return self._kept_setup


@dataclass(frozen=True)
class _Setup:
    """What a process needs to open the run, and to know whether it sees the same files.

    Attributes:
        folder: of the run.
        row: of a sample that can be read, -1 for none.
        sha256: of its bytes.
    """

    open_run: Callable[..., Run]
    device: torch.device
    folder: Path
    row: int
    sha256: str

    def open(self, workers: int = 1) -> Run:
        """The run, in a process that keeps no costs."""
        where = f"the machine {socket.gethostname()}"
        if not self.folder.is_dir():
            raise ElixirError(f"{where} has no folder {self.folder}; all machines must share it, under one path")
        run = self.open_run(self.device, workers=workers, meter=Meter())
        if self.row >= 0 and _digest(run, self.row) != self.sha256:
            raise ElixirError(
                f"{where} does not see {run.source.location} as this one does; all machines must share it"
            )
        return run


def _first_sample(run: Run) -> tuple[int, str]:
    for row in range(len(run.source.samples)):
        if digest := _digest(run, row):
            return row, digest
    return -1, ""


def _digest(run: Run, row: int) -> str:
    """SHA-256 of the bytes of a sample, "" if it cannot be read."""
    try:
        return hashlib.sha256(run.source.read(row)).hexdigest()
    except UnreadableSample:
        return ""


class _Worker:
    """Works on parts of one stage after the other; `decoding` threads decode images."""

    def __init__(self, decoding: int) -> None:
        torch.set_num_threads(1)
        self._decoding = decoding
        self._opened: Run | None = None
        self._stage: MapStage | None = None

    def work_on(self, name: str, work: list[ray.ObjectRef], number: int, part: np.ndarray) -> tuple[int, Cost]:
        if self._stage is None or self._stage.name != name:
            stage, facts = ray.get(work[1])
            self._run = self._with_facts(work[0], facts)
            stage.open(self._run)
            self._stage = stage
        self._run.meter.start(name)
        work_on(self._run, self._stage, number, part.copy(), lambda _: None)
        return number, self._run.meter.save()

    def train(self, work: list[ray.ObjectRef], training: Training) -> Cost:
        run = self._with_facts(work[0], ray.get(work[1]))
        run.meter.start(training.name)
        training.carry_out(run)
        return run.meter.save()

    def _with_facts(self, setup: ray.ObjectRef, facts: dict[str, Any]) -> Run:
        """The run as it is now, with what the stage at work has found so far."""
        if self._opened is None:
            self._opened = ray.get(setup).open(self._decoding)
        run = replace(self._opened)
        run.facts = facts
        return run


def _train(work: list[ray.ObjectRef], training: Training, threads: int) -> Cost:
    worker = _Worker(1)
    torch.set_num_threads(threads)
    return worker.train(work, training)


def _imports() -> dict[str, Any]:
    """Lets workers import what this process can, such as the modules of plug-ins."""
    return {"env_vars": {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}}


@contextmanager
def _errors_of_workers(where: str) -> Iterator[None]:
    """Turn what ray makes of errors into what they were, and lost processes into an ElixirError."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, ElixirError | OSError):
            raise error.cause from error.cause.__cause__
        raise
    except RayError as error:
        why = str(error).partition("\n")[0]
        remedy = "see whether memory is short, and go on with --resume"
        raise ElixirError(f"a process was lost {RETRIES + 1} times {where}: {why}; {remedy}") from error
