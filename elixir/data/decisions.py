"""What people have decided about samples."""

import getpass
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from elixir.data.paths import printable
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


def unique(decisions: Iterable[HumanDecision], where: str) -> list[HumanDecision]:
    """The decisions, of which no two may be about one sample; an ElixirError for `where` they come from."""
    found: dict[str, HumanDecision] = {}
    for decision in decisions:
        if decision.id in found:
            raise ElixirError(f"{where} decides twice about {printable(decision.id)!r}; leave one of the two out")
        found[decision.id] = decision
    return list(found.values())


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
