"""A CSV file with a line for every sample, in which a person fills in decisions for `elixir decide`."""

import csv
from collections.abc import Iterable
from pathlib import Path

from elixir.data.decision_files import COLUMNS, cell
from elixir.data.exchange.samples import Exported
from elixir.data.io import replacing

FACTS = ("given_label", "new_label", "action", "reason", "poison_score", "confidence")


def write_spreadsheet(path: Path, samples: Iterable[Exported]) -> int:
    """Write the file, which `read_decisions` reads again, as spreadsheets take it for UTF-8; returns its samples."""
    count = 0
    with (
        replacing(path, path.with_name(path.name + ".partial")) as partial,
        partial.open("w", encoding="utf-8-sig", newline="") as file,
    ):
        writer = csv.DictWriter(file, [*COLUMNS, *FACTS], restval="")
        writer.writeheader()
        for sample in samples:
            facts = sample.facts().items()
            writer.writerow({name: cell(value) if isinstance(value, str) else value for name, value in facts})
            count += 1
    return count
