"""Decisions of people that a run begins with: about an earlier output at its destination, and those it is given."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pyarrow.compute as pc

from elixir.data.decisions import HumanDecision, decisions_in, merged
from elixir.data.image import decode
from elixir.data.io import RUN_FOLDER
from elixir.data.manifest import read_manifest
from elixir.data.paths import printable
from elixir.data.source import Source, listed
from elixir.errors import ElixirError, UnreadableSample

NAMED = 5  # samples that a note or an error names


def starting_decisions(dst: Path, source: Source, given: Iterable[HumanDecision]) -> dict[str, HumanDecision]:
    """Decisions by id of the sample: those about the output that is at `dst` as far as they hold, and those given.

    One of before holds if the sample has the same id and bytes, and the label still exists; if not, it is named in a
    note of the source.

    Raises: ElixirError: one that is given is about no sample, or about one that cannot be in the output.
    """
    given = list(given)
    manifest = dst / RUN_FOLDER / "manifest.parquet"
    table = read_manifest(manifest) if manifest.is_file() else None
    before = decisions_in(table) if table else {}
    wanted = before.keys() | {decision.id for decision in given}
    rows = {id: row for row, id in enumerate(source.samples.ids) if id in wanted} if wanted else {}
    refuse_unknown(given, rows)
    for decision in given:
        if decision.decision != "drop" and (problem := _problem(source, rows[decision.id])):
            raise unusable(decision.id, problem)
    decided = table.select(["id", "sha256_in", "decision"]).filter(pc.field("decision") != "") if table else None
    digests = {row["id"]: row["sha256_in"] for row in decided.to_pylist()} if decided else {}
    holding = {id: one for id, one in before.items() if _holds(one, digests[id], source, rows.get(id))}
    if lapsed := [id for id in before if id not in holding]:
        what = f"{len(lapsed)} decisions about the output of before do not hold, as the samples have changed or gone"
        source.notes.append(f"{what}: {listed(lapsed, NAMED)}")
    return merged(holding, given)


def refuse_unknown(decisions: Iterable[HumanDecision], known: Iterable[str]) -> None:
    """Raise an ElixirError for decisions about samples that are not among the `known` ids."""
    ids = set(known)
    if unknown := [decision.id for decision in decisions if decision.id not in ids]:
        remedy = "give the ids that the manifest has"
        raise ElixirError(
            f"{len(unknown)} decisions are about samples that are not there: {listed(unknown, NAMED)}; {remedy}"
        )


def unusable(id: str, problem: str) -> ElixirError:
    """The error for a sample that somebody wants in the output, and that cannot be there."""
    what = f"{printable(id)} was set aside ({printable(problem)}) and cannot be kept or relabelled"
    return ElixirError(f"{what}; leave it out of the decisions")


def _problem(source: Source, row: int) -> str:
    """Why a sample cannot be in the output; "" if it can."""
    sample = source.samples[row]
    try:
        if sample.problem:
            raise UnreadableSample(sample.problem)
        decode(source.read(row))
    except UnreadableSample as error:
        return error.reason
    return "has no label" if sample.label < 0 else ""


def _holds(decision: HumanDecision, digest: str, source: Source, row: int | None) -> bool:
    """Whether a decision of before is about this very sample, and can be carried out."""
    if row is None or (decision.decision == "relabel" and decision.label not in source.classes):
        return False
    try:
        return hashlib.sha256(source.read(row)).hexdigest() == digest
    except UnreadableSample:
        return not digest
