"""Files of decisions: CSV that the report exports and people write, or what Label Studio has exported."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from elixir.data.decisions import HumanDecision, checked, unique
from elixir.data.exchange.label_studio import read_label_studio
from elixir.data.guarded_csv import text, write_csv
from elixir.data.paths import escape, printable
from elixir.errors import ElixirError

COLUMNS = tuple(field.name for field in fields(HumanDecision))
NEEDED = ("id", "decision")


def read_decisions(path: Path, classes: Sequence[str]) -> list[HumanDecision]:
    """The decisions of a CSV file with a header of names in `COLUMNS`, in any order; `id` and `decision` are needed.

    Other columns, and lines without a decision, are passed over. A `.json` file is what Label Studio has exported, see
    `read_label_studio`.

    Raises: ElixirError: it is no such file, or a line has no id, an id a second time, an unknown decision, a label
    without a decision, or one that is not in `classes`; the line is named.
    """
    if path.suffix.lower() == ".json":
        return read_label_studio(path, classes)
    shown = escape(str(path))
    try:
        with path.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as file:
            rows = csv.DictReader(file, strict=True)
            missing = [name for name in NEEDED if name not in (rows.fieldnames or ())]
            if missing:
                raise ElixirError(f"{shown} has no column {missing[0]!r}; the first line names {', '.join(COLUMNS)}")
            told = (_decision(row, f"{shown}, line {rows.line_num}", classes) for row in rows)
            decisions = [decision for decision in told if decision]
    except OSError as error:
        raise ElixirError(f"{shown} cannot be read: {error.strerror}; give a CSV file of decisions") from error
    except csv.Error as error:
        raise ElixirError(f"{shown} is not a CSV file of decisions: {error}") from error
    return unique(decisions, shown)


def given_decisions(given: str | Path | Iterable[HumanDecision], classes: Sequence[str]) -> list[HumanDecision]:
    """The decisions of a file (see `read_decisions`), or those given themselves if they make sense."""
    if isinstance(given, str | Path):
        return read_decisions(Path(given), classes)
    return unique((checked(one, f"decision about {printable(one.id)!r}", classes) for one in given), "somebody")


def write_decisions(path: Path, decisions: Iterable[HumanDecision]) -> None:
    """Write a file that `read_decisions` reads, through a temporary name."""
    write_csv(path, COLUMNS, map(vars, decisions))


def _decision(row: dict[str, str | None], where: str, classes: Sequence[str]) -> HumanDecision | None:
    values = {name: text(row.get(name) or "") for name in COLUMNS}
    if not values["decision"]:
        if values["label"]:
            raise ElixirError(f"{where} has a label but no decision; write relabel beside it, or take it away")
        return None
    if values["decision"] != "relabel":
        values["label"] = ""
    return checked(HumanDecision(**values), where, classes)  # type: ignore[arg-type]
