"""A CSV file with a line for every sample, in which a person fills in decisions for `elixir decide`."""

from collections.abc import Iterable
from pathlib import Path

from elixir.data.decision_files import COLUMNS
from elixir.data.exchange.samples import Exported
from elixir.data.guarded_csv import write_csv

FACTS = ("given_label", "new_label", "action", "reason", "poison_score", "confidence")


def write_spreadsheet(path: Path, samples: Iterable[Exported]) -> int:
    """Write the file, which `read_decisions` reads again, as spreadsheets take it for UTF-8; returns its samples."""
    return write_csv(path, [*COLUMNS, *FACTS], (sample.facts() for sample in samples), "utf-8-sig")
