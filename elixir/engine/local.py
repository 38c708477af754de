"""Carries out one stage of a run: streamed, and resumed by part."""

from __future__ import annotations

import numpy as np

from elixir.data.columns import Columns
from elixir.engine.run import Run
from elixir.engine.stage import MapStage, ReduceStage, Stage

PART = 1024


def execute(run: Run, stage: Stage) -> None:
    """Run one stage, or skip it (or its finished parts) when an earlier run has done them."""
    if run.has(stage.name):
        return
    run.started(stage.name)
    if isinstance(stage, MapStage):
        _map(run, stage)
    elif isinstance(stage, ReduceStage):
        columns = stage.reduce(run)
        if columns:
            run.write_part(stage.name, 0, run.readable_rows(), columns)
    run.finished(stage.name)


def _map(run: Run, stage: MapStage) -> None:
    rows = stage.rows(run)
    parts = [rows[start : start + PART] for start in range(0, max(1, len(rows)), PART)]
    stage.open(run)
    with run.progress.task(stage.name, len(rows)) as advance:
        for number, part in enumerate(parts):
            if run.has_part(stage.name, number):
                advance(len(part))
                continue
            batches: list[Columns] = []
            for offset in range(0, len(part), run.batch_size):
                batch = part[offset : offset + run.batch_size]
                batches.append(stage.process(run, batch))
                advance(len(batch))
            merged = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]} if batches else {}
            run.note_cost()
            run.write_part(stage.name, number, part, merged)
