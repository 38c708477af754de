"""Certificates while they are being made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elixir.certification.sampling import Certificate
from elixir.engine.run import Cost
from elixir.measurement.results_log import ResultsLog


@dataclass(frozen=True)
class Row:
    """One image at one noise level.

    Attributes:
        id: of the sample.
        label: the true one.
        sigma: deviation of the noise in [0,1] pixel units.
        certificate: what is known about it.
    """

    id: str
    label: int
    sigma: float
    certificate: Certificate

    @property
    def right(self) -> bool:
        """The true label is certified, at some radius."""
        return not self.certificate.abstained and self.certificate.prediction == self.label


class Ledger:
    """A results log of rows, each with what all have cost so far.

    Args:
        path: see `ResultsLog`.
        settings: see `ResultsLog`.

    Attributes:
        rows: so far, in the order in which they were finished.
        cost: so far.

    Raises:
        ElixirError: see `ResultsLog`.
    """

    def __init__(self, path: Path, settings: dict[str, object]) -> None:
        self.rows: list[Row] = []
        self.cost = Cost()
        self._journal = ResultsLog(path, settings)
        for entry in self._journal.entries:
            fields: dict[str, Any] = entry | {"certificate": Certificate(**entry["certificate"])}
            self.cost = Cost(**fields.pop("cost"))
            self.rows.append(Row(**fields))

    def add(self, row: Row, cost: Cost) -> None:
        """Keep a row, and what all have cost now."""
        self.rows.append(row)
        self.cost = cost
        self._journal.add({**asdict(row), "cost": vars(cost)})

    def remove(self) -> None:
        """Delete the file, when its rows are safe elsewhere."""
        self._journal.remove()
