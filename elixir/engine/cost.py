"""What every stage has spent, kept so that an interrupted run loses nothing of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from elixir.data.io import replace_text


@dataclass
class Cost:
    """What one stage has spent.

    Attributes:
        seconds: of wall time.
        network_seconds: inside networks.
        nfe: function evaluations of the purifier's network, an image each.
    """

    seconds: float = 0.0
    network_seconds: float = 0.0
    nfe: int = 0


class Meter:
    """Counts the costs of one stage after the other.

    Args:
        folder: where the cost of a stage that has not finished is kept.

    Attributes:
        costs: of each stage so far.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._stage, self._start = "", 0.0
        self.costs: dict[str, Cost] = {}

    def start(self, stage: str) -> None:
        """Begin to count for a stage, on top of what an interrupted run has spent on it."""
        kept = self._folder / f"{stage}.json"
        self._stage = stage
        self.costs[stage] = Cost(**json.loads(kept.read_text())) if kept.exists() else Cost()
        self._start = time.perf_counter() - self.costs[stage].seconds

    def save(self) -> Cost:
        """Keep what the stage at work has cost so far."""
        cost = self.costs[self._stage]
        cost.seconds = time.perf_counter() - self._start
        replace_text(self._folder / f"{self._stage}.json", json.dumps(vars(cost)))
        return cost

    @contextmanager
    def network(self, nfe: int = 0) -> Iterator[None]:
        """Count the enclosed time as spent inside networks, and `nfe` function evaluations of the purifier."""
        start = time.perf_counter()
        yield
        cost = self.costs[self._stage]
        cost.network_seconds += time.perf_counter() - start
        cost.nfe += nfe
