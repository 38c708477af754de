"""The report as it is written; `test_report_in_browser.py` opens it."""

import hashlib
import json
import re
from base64 import b64encode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError
from report_world import KEPT, confirmed, kept, relabelled, result_of, set_aside, unreadable, write_made_report

from elixir.detection.reports import LabelReport
from elixir.pages import render
from elixir.pages.report import sentence
from elixir.pages.thumbnails import INLINE
from elixir.result import Result

HOSTILE = '<img src=x onerror="alert(1)">\x1b'


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {"script": [], "style": []}
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside in self.text:
            self.text[self.inside].append(data)


def hostile(folder: Path) -> Result:
    rows = [relabelled(f"{HOSTILE}/0.png"), replace(set_aside("b"), reason=HOSTILE), kept(HOSTILE)]
    result = result_of(folder, rows, classes=[HOSTILE, "dog"])
    attacked = [replace(result.attacked[0], name=HOSTILE)]
    return replace(
        result, attacked=attacked, config=result.config | {"source": HOSTILE}, notes=[f"not seen: {HOSTILE}"]
    )


def test_hostile_names_are_text(tmp_path: Path):
    text = write_made_report(hostile(tmp_path))
    tags = Tags(text)
    assert "\x1b" not in text
    assert "<p>Note: not seen: &lt;img src=x" in text
    assert [tag for tag, _ in tags.seen].count("img") == 1  # the trigger
    assert not [name for _, attributes in tags.seen for name in attributes if name.startswith("on") or name == "style"]


def test_the_policy_allows_the_script_and_style_of_the_page_alone(tmp_path: Path):
    tags = Tags(write_made_report(hostile(tmp_path)))
    policy = next(a["content"] for _, a in tags.seen if a.get("http-equiv") == "Content-Security-Policy")
    assert policy
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    texts = {"style-src": tags.text["style"][0], "script-src": tags.text["script"][-1]}
    for rule, text in texts.items():
        assert rules[rule] == [f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"]
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == ["'none'"]
    assert [a.get("type") for tag, a in tags.seen if tag == "script"] == ["application/json", None]


def test_facts_of_a_label_under_attack(tmp_path: Path):
    text = write_made_report(result_of(tmp_path, [relabelled("a")]))
    assert "<h3>cat is under attack</h3>" in text
    assert "2 flagged, score 0.800, decided by joint (trigger transfer 0.900)." in text
    assert 'alt="Estimated trigger of cat"' in text
    assert 'alt="Estimated trigger' not in write_made_report(result_of(tmp_path, [relabelled("a")]), triggers={})


def test_every_label_is_in_the_table(tmp_path: Path):
    text = write_made_report(result_of(tmp_path, [relabelled("a"), kept("b"), replace(KEPT, label=2, new_label=2)]))
    table = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", text[text.index("<table>") : text.index("</table>")]))
    assert "cat 0.800 under attack 1 1 owl 0.020 nothing 1" in table


def test_the_same_result_gives_the_same_bytes(tmp_path: Path):
    rows = [set_aside(str(index), confidence=index % 7 / 10) for index in range(INLINE + 1)]
    pages = [write_made_report(result_of(tmp_path / "one", rows)) for _ in range(2)]
    assert pages[0] == pages[1]
    folders = [sorted(path.name for path in (tmp_path / "one/.elixir/report").iterdir())]
    assert folders[0] == sorted(set(re.findall(r"report/([0-9a-f]{24}\.png)", pages[0])))


def test_a_scan_has_nothing_to_decide(tmp_path: Path):
    text = write_made_report(result_of(tmp_path, [relabelled("a")], write={"dataset": False}))
    assert "1 would be given another label" in text
    assert "elixir sanitize</code> writes one" in text
    assert 'id="export"' not in text


def test_nothing_to_look_at(tmp_path: Path):
    text = write_made_report(result_of(tmp_path, [kept("a")], attacked=False))
    assert "No sample was changed, set aside or nearly so." in text
    assert "<script" not in text


def test_the_sentence(tmp_path: Path):
    rows = [relabelled("a"), set_aside("b"), kept("c"), kept("d"), confirmed("e")]
    assert sentence(result_of(tmp_path, rows)) == (
        "cat is under attack: of 5 samples 1 was given another label and freed of the trigger, 1 was set aside "
        "and 3 were left untouched."
    )
    clean = result_of(tmp_path, [kept("c"), unreadable("d")], attacked=False)
    assert sentence(clean) == "No label is under attack: of 2 samples 1 was set aside and 1 was left untouched."
    few = [replace(report, not_judged="few") for report in clean.labels]
    assert sentence(replace(clean, labels=few)).startswith("Nothing could be judged: of 2 samples")
    some = sentence(replace(clean, labels=[few[0], *clean.labels[1:]]))
    assert some.startswith("No label is under attack among the 2 of 3 that could be judged: of 2")


@pytest.mark.parametrize(
    ("name", "word"), [("clean", "clean"), ("my data", "'my data'"), ("it's", "'it'\"'\"'s'"), ("-rf", "./-rf")]
)
def test_the_folder_is_one_word_for_a_shell(tmp_path: Path, name: str, word: str):
    tags = Tags(write_made_report(result_of(tmp_path / name, [relabelled("a")])))
    assert [a["data-folder"] for _, a in tags.seen if "data-folder" in a] == [word]


def test_a_result_without_settings_has_a_report(tmp_path: Path):
    of_02 = replace(result_of(tmp_path, [relabelled("a")]), config={"source": "x"})
    data = json.loads(Tags(write_made_report(of_02)).text["script"][0])
    assert data["rows"]["id"] == ["a"]


def test_a_label_without_samples_is_no_error(tmp_path: Path):
    result = result_of(tmp_path, [relabelled("a")])
    empty = replace(result, labels=[*result.labels, LabelReport(9, "none", 0)])
    assert np.char.count(write_made_report(empty), "under attack") > 0


def test_a_template_without_its_values_is_an_error():
    with pytest.raises(UndefinedError):
        render("report.html.j2", title="no values")
