"""What a stage is: a step that turns columns and models of a run into more columns and models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elixir.data.columns import Columns
from elixir.engine.run import Run
from elixir.settings import checked


@dataclass
class Stage:
    """A named step of a pipeline; subclasses are dataclasses whose fields are the recipe's settings.

    Derive from `MapStage` or `ReduceStage`, not from this. A setting is checked wherever it is set; give it a range
    with the types of `elixir.settings`. What else a stage keeps begins with an underscore.
    """

    name: ClassVar[str]

    def __setattr__(self, key: str, value: object) -> None:
        super().__setattr__(key, value if key.startswith("_") else checked(type(self), key, value))

    def needs(self) -> tuple[str, ...]:
        """Names of the stages whose columns, models or findings it reads, which must come before it."""
        return ()

    def check(self) -> None:
        """Raise `ElixirError` when settings do not go together; called before anything runs."""


class MapStage(Stage):
    """Sees one batch of samples at a time and writes columns for it; resumed by part."""

    def rows(self, run: Run) -> np.ndarray:
        """Which rows (int64) it works on; by default every readable sample."""
        return run.readable_rows()

    def open(self, run: Run) -> None:
        """Load what `process` needs; called before the first part, also of a stage that goes on."""

    def process(self, run: Run, rows: np.ndarray) -> Columns:
        """Columns for these rows, each an array whose first dimension is len(rows)."""
        raise NotImplementedError


class ReduceStage(Stage):
    """Sees columns of the whole set, never its pixels at once; trains models or decides."""

    def reduce(self, run: Run) -> Columns:
        """Columns for all readable rows, in order of the rows; may be empty."""
        raise NotImplementedError


def build_stage(kind: type[Stage], settings: Mapping[str, object]) -> Stage:
    """Make a stage from a recipe's settings.

    Raises:
        ElixirError: unknown key, or a value of the wrong type or out of range.
    """
    for key, value in settings.items():
        checked(kind, key, value)
    stage = kind(**settings)
    stage.check()
    return stage
