"""Which samples the report shows, and in which order."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from report_world import KEPT, confirmed, kept, relabelled, result_of, set_aside, unreadable

from elixir.pages.gallery import NEAREST, gallery_data, script_json, shown_rows
from elixir.pages.thumbnails import ContactSheets

HOSTILE = ["</script><!--<script>", "\u202egnp.exe", 'a"b,c\n\r', "=cmd()", "\u2028", "\x00"]


def test_doubtful_samples_come_first(tmp_path: Path):
    rows = [
        kept("far", 0.0),
        relabelled("sure", confidence=1.0, score=1.0),
        unreadable("broken"),
        kept("near", 0.0099),
        replace(KEPT, id="of a label that is not under attack", label=1, new_label=1, poison_score=0.0099),
        set_aside("undecided", confidence=0.45),
        confirmed("confirmed", score=0.3, confidence=0.99),
    ]
    result = result_of(tmp_path, rows)
    ids = result.table["id"].take(shown_rows(result)).to_pylist()
    assert ids == ["undecided", "confirmed", "sure", "near", "far", "broken"]


def test_of_samples_that_are_not_flagged_the_nearest_are_shown(tmp_path: Path):
    result = result_of(tmp_path, [kept(str(n), n / 10000) for n in range(99)])
    rows = shown_rows(result)
    assert rows.tolist() == list(range(98, 98 - NEAREST, -1))
    assert len(shown_rows(result_of(tmp_path, [kept("a", 0.009)], attacked=False))) == 0


def test_samples_that_somebody_has_decided_about_are_shown(tmp_path: Path):
    told = replace(kept("b"), decision="keep", decided_by="Ann", decided_at="now")
    decided = result_of(tmp_path, [kept("a"), told], attacked=False)
    rows = shown_rows(decided)
    assert rows.tolist() == [1]
    data = gallery_data(decided, rows, ContactSheets([], np.zeros((1, 2), bool)))
    assert data["decided"] == {0: ["keep", "cat", "Ann", "now"]}


def test_what_the_script_of_the_page_is_told(tmp_path: Path):
    rows = [relabelled("a", score=0.123456), unreadable("b"), kept("c", 0.001)]
    result = result_of(tmp_path, rows)
    data = gallery_data(result, np.array([2, 0, 1]), ContactSheets(["u"], np.array([[1, 0], [1, 1], [0, 0]], bool)))
    names = data["rows"]
    assert names["id"] == ["c", "a", "b"]
    assert (names["label"], names["newLabel"]) == ([0, 0, 0], [0, 1, -1])
    assert [data["actions"][n] for n in names["action"]] == ["kept", "relabelled", "quarantined"]
    assert [data["reasons"][n] for n in names["reason"]] == ["not flagged", "poisoned", "empty file"]
    assert names["score"] == [0.001, 0.1235, None]
    assert names["confidence"] == [None, 0.9, None]
    assert names["pictures"] == [1, 2, 0]
    assert (data["classes"], data["decided"], data["key"]) == (["cat", "dog", "owl"], {}, "f00")


def test_no_text_ends_the_script_element():
    text = script_json({"id": HOSTILE})
    assert "<" not in text
    assert text.isascii()
    assert json.loads(text) == {"id": HOSTILE}
