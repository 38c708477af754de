"""Carries out one stage of a run in this process: streamed, and resumed by part."""

import numpy as np

from elixir.data.columns import Columns
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
    indices = stage.indices(run)
    parts = [indices[start : start + PART] for start in range(0, max(1, len(indices)), PART)]
    stage.open(run)
    with run.progress.task(stage.name, len(indices)) as advance:
        for number, part in enumerate(parts):
            if run.has_part(stage.name, number):
                advance(len(part))
                continue
            batches: list[Columns] = []
            for offset in range(0, max(1, len(part)), run.batch_size):
                batch = part[offset : offset + run.batch_size]
                batches.append(stage.process(run, batch))
                advance(len(batch))
            run.meter.save()
            columns = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
            run.write_part(stage.name, number, part, columns)
