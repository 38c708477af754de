"""What an executor is: it says where parts of stages are worked on, and where trainings run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from elixir.data.columns import Columns
    from elixir.engine.run import Run
    from elixir.engine.stage import MapStage
    from elixir.engine.training import Training

Advance = Callable[[int], None]
"""Is told how many samples more are done."""


class Executor(Protocol):
    """Where the work is done that can be done anywhere; all give the same bytes on one kind of device."""

    def map(self, run: Run, stage: MapStage, parts: Mapping[int, np.ndarray], advance: Advance) -> None:
        """Work on parts of a stage, by number, each by `work_on`, in any order."""
        ...

    def train(self, run: Run, trainings: Sequence[Training]) -> None:
        """Carry out trainings that do not depend on each other."""
        ...


def work_on(run: Run, stage: MapStage, number: int, part: np.ndarray, advance: Advance) -> None:
    """Work on one part (int64) of a stage that is open, in batches, and keep its columns under its number."""
    batches: list[Columns] = []
    for batch in list(run.batches(part)) or [part]:
        batches.append(stage.process(run, batch))
        advance(len(batch))
    columns = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    run.write_part(stage.name, number, part, columns)
