"""The executor that spreads parts and trainings over the processes of a ray cluster, here or on many machines.

A part is worked on by an actor, which holds the source and the networks and has one thread, or one GPU. A training on
the CPU is a task with as many threads as this process has, as their number decides how its sums are rounded; on GPUs it
is an actor's. What they find lies in the run folder, which all machines share, so only costs come back.
"""

import hashlib
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import ray
import torch
from ray.exceptions import RayError, RayTaskError
from ray.util import ActorPool

from elixir.engine.cost import Cost, Meter
from elixir.engine.executor import Advance, work_on
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.engine.training import Training
from elixir.errors import ElixirError, UnreadableSample, explaining

RETRIES = 3
"""How often a part or training begins again whose process was lost: it may be what kills the process."""


class OnRay:
    """See `elixir.engine.executor.Executor`; a context within which there is a cluster.

    Args:
        open_run: opens the run in another process, from a device, `workers` and a `meter`.
        device: kind of the device that the networks run on.
        address: of a running cluster, "auto" for the one of this machine; by default one is started here, for the time
            of the context.
        workers: actors; by default one for each GPU of the cluster where the networks run on such, else for each core.
        quiet: nothing that ray or the workers say is shown.

    Raises: ElixirError: there is no cluster at the address, or no GPU in it.
    """

    def __init__(
        self,
        open_run: Callable[..., Run],
        device: torch.device,
        address: str | None = None,
        workers: int | None = None,
        quiet: bool = True,
    ) -> None:
        self._open_run = open_run
        self._device = torch.device(device.type)
        self._address = address
        self._workers = workers
        self._quiet = quiet
        self._begun = False
        self._pool: ActorPool | None = None
        self._kept_setup: ray.ObjectRef | None = None

    def __enter__(self) -> Self:
        if not ray.is_initialized():  # else it is the user's, and stays
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            what, remedy = f"no ray cluster at {self._address or 'this machine'}", "start one with ray start --head"
            with explaining((ConnectionError, RuntimeError, ValueError), what, remedy):
                ray.init(self._address or "local", log_to_driver=not self._quiet, logging_level="ERROR")
            self._begun = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._begun:
            ray.shutdown()

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
        facts = dict(run.facts)
        if self._device.type == "cuda":
            work = [self._setup(run), ray.put(facts)]
            yield from self._actors().map_unordered(lambda actor, one: actor.train.remote(work, one), [*trainings])
            return
        threads = torch.get_num_threads()
        cores = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
        task = ray.remote(_train).options(num_cpus=min(threads, cores), max_retries=RETRIES, runtime_env=_imports())
        work = [self._setup(run), ray.put(facts)]
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
