"""Decisions of people: files of them, and how new ones and those of before go together."""

import getpass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from elixir.data.decision_files import given_decisions, read_decisions, write_decisions
from elixir.data.decisions import HumanDecision, decisions_in, digest, merged
from elixir.errors import ElixirError

CLASSES = ["cat", "dog, big", 'a "b"', "line\nbreak"]


def test_a_file_comes_back(tmp_path: Path) -> None:
    decisions = [
        HumanDecision("cat/a.png", "keep"),
        HumanDecision('x,"y"\n.png', "relabel", "line\nbreak", "ann", "2026-01-02", "a, note"),
        HumanDecision("é", "relabel", 'a "b"'),
        HumanDecision("=1+1", "drop", by="bob"),
    ]
    write_decisions(tmp_path / "decisions.csv", decisions)
    assert read_decisions(tmp_path / "decisions.csv", CLASSES) == decisions
    assert given_decisions(str(tmp_path / "decisions.csv"), CLASSES) == decisions
    assert given_decisions(iter(decisions), CLASSES) == decisions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\na,cat\n", "has no column 'decision'; the first line names id, decision, label"),
        ("id,decision\na,keep\n\nb,kep\n", "line 4: unknown decision 'kep'; did you mean 'keep'"),
        ("id,decision,label\na,relabel,cats\n", "line 2: the dataset has no class 'cats'; did you mean 'cat'"),
        ("id,decision\n,keep\n", "line 2: which sample"),
        ("id,decision\na,keep\na,drop\n", "decides twice about 'a'; leave one of the two out"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "decisions.csv").write_text(text)
    with pytest.raises(ElixirError, match=message):
        read_decisions(tmp_path / "decisions.csv", CLASSES)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "decisions.csv").write_bytes(b"id,decision,by\na,keep,caf\xe9\n")
    with pytest.raises(ElixirError, match="line 2 has bytes that are no UTF-8"):
        read_decisions(tmp_path / "decisions.csv", CLASSES)
    with pytest.raises(ElixirError, match=r"none\.csv cannot be read"):
        read_decisions(tmp_path / "none.csv", CLASSES)


def test_new_decisions_take_the_place_of_those_of_before() -> None:
    before = {id: HumanDecision(id, "keep", by="ann", at="2026-01-01") for id in "abc"}
    new = [HumanDecision("b", "drop", by="bob", at="2026-02-02", note="why"), HumanDecision("d", "keep")]
    found = merged(before, new, "cy")
    assert [found[id] for id in "abc"] == [
        before["a"],
        HumanDecision("b", "drop", "", "bob", "2026-02-02"),
        before["c"],
    ]
    assert (found["d"].by, found["d"].note) == ("cy", "")
    assert abs((datetime.fromisoformat(found["d"].at) - datetime.now(UTC)).total_seconds()) < 60
    assert merged(before, [HumanDecision("a", "keep", by="ann")]) == before
    assert merged(before, [HumanDecision("a", "keep", by="ann", at="2026-03-03")])["a"].at == "2026-03-03"
    assert merged(before, [HumanDecision("a", "keep")], "bob")["a"].by == "bob"


def test_the_user_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "me")
    assert merged({}, [HumanDecision("a", "keep")])["a"].by == "me"

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nobody)
    with pytest.raises(ElixirError, match="say it with --by NAME"):
        merged({}, [HumanDecision("a", "keep")])


def test_the_digest_is_of_what_was_decided_by_whom() -> None:
    one, two = HumanDecision("a", "keep", by="ann", at="1"), HumanDecision("b", "relabel", "cat", "ann", "1")
    assert digest([one, two]) == digest([two, HumanDecision("a", "keep", by="ann", at="2")])
    others = [[one], [two], [one, HumanDecision("b", "relabel", "dog, big", "ann")], [one, HumanDecision("b", "drop")]]
    assert len({digest(each) for each in (*others, [one, two])}) == 5


def test_decisions_of_a_manifest() -> None:
    columns = {
        "id": ["a", "b", "c"],
        "decision": ["", "relabel", "keep"],
        "new_class": ["cat", "dog, big", "cat"],
        "decided_by": ["", "ann", "bob"],
        "decided_at": ["", "1", "2"],
    }
    assert decisions_in(pa.table(columns)) == {
        "b": HumanDecision("b", "relabel", "dog, big", "ann", "1"),
        "c": HumanDecision("c", "keep", "", "bob", "2"),
    }
