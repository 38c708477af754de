"""What people have decided about samples: a CSV file that the report exports and people write, or in a manifest.

Ids are the text of strangers, and a spreadsheet takes a cell that begins with one of `FORMULA` for a formula. Such
cells, and those that begin with an apostrophe, are written behind an apostrophe, which is taken away again.
"""

import csv
import getpass
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from elixir.data.io import replacing
from elixir.data.paths import escape, printable
from elixir.errors import ElixirError, nearest

Verdict = Literal["keep", "relabel", "drop"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True)
class HumanDecision:
    """What somebody has decided about one sample of the input, over what Elixir has.

    Attributes:
        id: of the sample, as in the manifest.
        decision: "keep" the sample as it was in the input; "relabel" it: give it another label; "drop" it.
        label: name of the class for "relabel", else "".
        by: who; "" where nobody has said.
        at: when, in ISO 8601; likewise.
        note: whatever they say.
    """

    id: str
    decision: Verdict
    label: str = ""
    by: str = ""
    at: str = ""
    note: str = ""


COLUMNS = tuple(field.name for field in fields(HumanDecision))
NEEDED = ("id", "decision")
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def read_decisions(path: Path, classes: Sequence[str]) -> list[HumanDecision]:
    """The decisions of a CSV file with a header of names in `COLUMNS`, in any order; `id` and `decision` are needed.

    Other columns, and lines without a decision, are passed over. A `.json` file is what Label Studio has exported, see
    `read_label_studio`.

    Raises: ElixirError: it is no such file, or a line has no id, an id a second time, an unknown decision, a label
    without a decision, or one that is not in `classes`; the line is named.
    """
    if path.suffix.lower() == ".json":
        from elixir.data.exchange.label_studio import read_label_studio  # which makes such decisions

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


def unique(decisions: Iterable[HumanDecision], where: str) -> list[HumanDecision]:
    """The decisions, of which no two may be about one sample; an ElixirError for `where` they come from."""
    found: dict[str, HumanDecision] = {}
    for decision in decisions:
        if decision.id in found:
            raise ElixirError(f"{where} decides twice about {printable(decision.id)!r}; leave one of the two out")
        found[decision.id] = decision
    return list(found.values())


def write_decisions(path: Path, decisions: Iterable[HumanDecision]) -> None:
    """Write a file that `read_decisions` reads, through a temporary name."""
    with (
        replacing(path, path.with_name(path.name + ".partial")) as partial,
        partial.open("w", encoding="utf-8", newline="", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({name: cell(text) for name, text in vars(decision).items()} for decision in decisions)


def cell(text: str) -> str:
    """Any text as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith((*FORMULA, "'")) else text


def _text(cell: str) -> str:
    """What a cell says; an apostrophe that nobody had to write is part of it."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*FORMULA, "'")) else cell


def decisions_in(manifest: pa.Table) -> dict[str, HumanDecision]:
    """The decisions that a manifest has, by id of the sample."""
    decided = manifest.filter(pc.field("decision") != "")
    columns = (decided[name].to_pylist() for name in ("id", "decision", "new_class", "decided_by", "decided_at"))
    return {
        id: HumanDecision(id, decision, label if decision == "relabel" else "", by, at)
        for id, decision, label, by, at in zip(*columns, strict=True)
    }


def merged(
    known: Mapping[str, HumanDecision], new: Iterable[HumanDecision], by: str | None = None
) -> dict[str, HumanDecision]:
    """Decisions of before and new ones, which take the place of those about the same samples, by id of the sample.

    New ones that do not say who and when are by `by`, or else the user, and of now. Who decides what he has decided
    before changes nothing, unless he says when.

    Raises: ElixirError: the system does not tell who the user is.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    decided = dict(known)
    for decision in new:
        decision = replace(decision, by=decision.by or by or _user(), note="")
        before = known.get(decision.id)
        if decision.at or before is None or replace(before, at="") != decision:
            decided[decision.id] = replace(decision, at=decision.at or now)
    return decided


def digest(decisions: Iterable[HumanDecision]) -> str:
    """Hexadecimal digest of decisions in any order; when they were made does not count."""
    told = sorted((one.id, one.decision, one.label, one.by) for one in decisions)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise ElixirError("the system does not tell who decides; say it with --by NAME") from error


def checked(decision: HumanDecision, where: str, classes: Sequence[str]) -> HumanDecision:
    """The decision, if it makes sense for these classes; else an ElixirError for `where` it comes from."""
    if not decision.id:
        raise ElixirError(f"{where}: which sample? give the id that the manifest has")
    if re.search("[\ud800-\udfff]", decision.id + decision.by + decision.at):
        raise ElixirError(f"{where} has bytes that are no UTF-8; save the file as UTF-8")
    if decision.decision not in VERDICTS:
        hint = nearest(decision.decision, VERDICTS, f"possible: {', '.join(VERDICTS)}")
        raise ElixirError(f"{where}: unknown decision {printable(decision.decision)!r}; {hint}")
    if decision.decision == "relabel" and decision.label not in classes:
        hint = nearest(decision.label, classes, f"its classes: {', '.join(map(printable, classes[:20]))}")
        raise ElixirError(f"{where}: the dataset has no class {printable(decision.label)!r}; {hint}")
    return decision


def _decision(row: dict[str, str | None], where: str, classes: Sequence[str]) -> HumanDecision | None:
    values = {name: _text(row.get(name) or "") for name in COLUMNS}
    if not values["decision"]:
        if values["label"]:
            raise ElixirError(f"{where} has a label but no decision; write relabel beside it, or take it away")
        return None
    if values["decision"] != "relabel":
        values["label"] = ""
    return checked(HumanDecision(**values), where, classes)  # type: ignore[arg-type]
