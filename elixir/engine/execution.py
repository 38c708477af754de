"""Carries out one stage of a run, resumed by part."""

import numpy as np

from elixir.data.pixels import in_parts
from elixir.engine.run import Run
from elixir.engine.stage import MapStage, ReduceStage, Stage

PART = 1024
"""Samples whose columns are written together; it has no influence on any result."""


def execute(run: Run, stage: Stage) -> None:
    """Run one stage, or skip it (or its finished parts) when an earlier run has done them."""
    if run.has(stage.name):
        return
    run.meter.start(stage.name)
    if isinstance(stage, MapStage):
        _map(run, stage)
    elif isinstance(stage, ReduceStage):
        columns = stage.reduce(run)
        if columns:
            run.write_part(stage.name, 0, np.arange(len(run)), columns)
    run.finish(stage.name)


def _map(run: Run, stage: MapStage) -> None:
    stage.prepare(run)
    indices = stage.indices(run)
    parts = list(in_parts(indices, PART)) or [indices]
    left = {number: part for number, part in enumerate(parts) if not run.has_part(stage.name, number)}
    with run.progress.task(stage.name, len(indices)) as advance:
        advance(len(indices) - sum(map(len, left.values())))
        if left:
            run.executor.map(run, stage, left, advance)
    run.provide(stage.name)
    stage.conclude(run)
