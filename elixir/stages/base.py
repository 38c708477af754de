"""What a stage is: a step that turns columns and models of a run into more columns and models."""

from __future__ import annotations

from typing import ClassVar, get_type_hints

import numpy as np

from elixir.errors import ElixirError
from elixir.run.columns import Columns
from elixir.run.run import Run


class Stage:
    """A named step of a pipeline; subclasses are dataclasses whose fields are the recipe's settings.

    Derive from `MapStage` or `ReduceStage`, not from this.
    """

    name: ClassVar[str]

    def check(self) -> None:
        """Raise `ElixirError` when a setting makes no sense; called before anything runs."""


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


def build_stage(kind: type[Stage], settings: dict[str, object]) -> Stage:
    """Make a stage from a recipe's settings, with errors that name the key.

    Raises:
        ElixirError: unknown key, or a value of the wrong type.
    """
    fields = {
        key: hint for key, hint in get_type_hints(kind).items() if key in getattr(kind, "__dataclass_fields__", {})
    }
    for key, value in settings.items():
        if key not in fields:
            known = ", ".join(fields) or "none"
            raise ElixirError(f"stage {kind.name!r} has no setting {key!r}; its settings: {known}")
        settings = settings | {key: _convert(kind.name, key, value, fields[key])}
    stage = kind(**settings)
    stage.check()
    return stage


def _convert(stage: str, key: str, value: object, hint: object) -> object:
    if hint is float and type(value) is int:
        return float(value)
    if str(hint).startswith("tuple[") and isinstance(value, list):
        inner = float if "float" in str(hint) else int if "int" in str(hint) else str
        return tuple(_convert(stage, key, item, inner) for item in value)
    if str(hint).startswith("tuple[") and not isinstance(value, tuple):
        raise ElixirError(f"setting {stage}.{key} = {value!r} is of the wrong type; expected a list")
    accepted = hint if isinstance(hint, type) else getattr(hint, "__args__", (object,))
    plain = tuple(kind for kind in (accepted if isinstance(accepted, tuple) else (accepted,)) if isinstance(kind, type))
    if plain and not (isinstance(value, plain) and (type(value) is not bool or bool in plain)):
        expected = getattr(hint, "__name__", str(hint))
        raise ElixirError(f"setting {stage}.{key} = {value!r} is of the wrong type; expected {expected}")
    return value
