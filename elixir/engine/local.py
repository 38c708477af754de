"""The executor that does everything in this process, one part or training after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from elixir.engine.executor import Advance, work_on

if TYPE_CHECKING:
    from elixir.engine.run import Run
    from elixir.engine.stage import MapStage
    from elixir.engine.training import Training


class Local:
    """See `elixir.engine.executor.Executor`."""

    def map(self, run: Run, stage: MapStage, parts: Mapping[int, np.ndarray], advance: Advance) -> None:
        stage.open(run)
        for number, part in parts.items():
            work_on(run, stage, number, part, advance)
            run.meter.save()

    def train(self, run: Run, trainings: Sequence[Training]) -> None:
        for training in trainings:
            training.carry_out(run)
