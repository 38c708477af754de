"""Certificates while they are being made: nothing that is finished is lost when the process is killed."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from elixir.certification.sampling import Certificate
from elixir.data.files import writing
from elixir.errors import ElixirError
from elixir.run.run import Cost


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
    """A text file: the settings, then a line of JSON for every row, with what all have cost so far.

    Args:
        path: of the file; begun when missing. A half-written last line is cut off.
        settings: what the rows depend on.

    Attributes:
        rows: so far, in the order in which they were finished.
        cost: so far.

    Raises:
        ElixirError: the file has other settings, or cannot be written.
    """

    def __init__(self, path: Path, settings: dict[str, object]) -> None:
        self.rows: list[Row] = []
        self.cost = Cost()
        self._path = path
        with writing(path):
            path.touch()
            whole = path.read_bytes()
            end = whole.rfind(b"\n") + 1
            os.truncate(path, end)
        lines = whole[:end].splitlines()
        if not lines:
            self._append(settings)
        elif json.loads(lines[0]) != json.loads(json.dumps(settings)):
            raise ElixirError(f"{path} is of a certification with other settings; choose another output folder")
        for line in lines[1:]:
            entry = json.loads(line)
            self.cost = Cost(**entry.pop("cost"))
            self.rows.append(Row(**entry | {"certificate": Certificate(**entry["certificate"])}))

    def add(self, row: Row, cost: Cost) -> None:
        """Keep a row, and what all have cost now."""
        self.rows.append(row)
        self.cost = cost
        self._append({**asdict(row), "cost": vars(cost)})

    def remove(self) -> None:
        """Delete the file, when its rows are safe elsewhere."""
        self._path.unlink()

    def _append(self, entry: dict[str, object]) -> None:
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
