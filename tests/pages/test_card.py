"""The section for a dataset's card, as a renderer of Markdown shows it."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from elixir.data.manifest import ManifestRow, read_manifest, write_manifest
from elixir.data.paths import printable
from elixir.errors import ElixirError
from elixir.pages.card import FLOWS, dataset_card, literal
from elixir.result import Result, read_result

V02 = Path(__file__).parents[1] / "data" / "fixtures" / "v02" / "folder"
HOSTILE = [
    "| a | b |",
    "<script>x</script>",
    "[x](http://evil)",
    "![x](y)",
    "**b** `c` ~~d~~ __e__ \\",
    "www.evil.com",
    "a\n# b",
]
MARKDOWN = MarkdownIt("gfm-like", {"linkify": False, "html": True})


def shown(markdown: str) -> tuple[str, set[str]]:
    """The text that a reader sees of one paragraph, and which kinds of markup are in it."""
    (_, inline, _) = MARKDOWN.parse(markdown)
    kinds = {token.type for token in inline.children or ()}
    return "".join(token.content for token in inline.children or ()), kinds


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@example(text="".join(HOSTILE))
@example(text="&amp; &#60; 1. - + # > =")
def test_any_text_is_shown_as_it_is(text: str) -> None:
    """Behind a word, as everywhere in the card: at the start of a line a number would begin a list."""
    seen, kinds = shown(f"x {literal(text)} x")
    assert seen == f"x {printable(text)} x"
    assert kinds <= {"text", "text_special"}


def test_no_address_is_left_that_becomes_a_link() -> None:
    """GitHub makes links of what looks like an address, if it stands there as it is."""
    assert literal("http://evil.example www.evil.example me@evil.example") == (
        r"http\://evil\.example www\.evil\.example me\@evil\.example"
    )


def cells(markdown: str) -> list[list[str]]:
    """The table of the card, as text."""
    rows: list[list[str]] = []
    for token in MARKDOWN.parse(markdown):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows:
            rows[-1].append("".join(child.content for child in token.children or ()))
        elif token.type == "table_close":
            break
    return rows


def test_what_was_changed_is_told() -> None:
    card = dataset_card(read_result(V02))
    assert "- Samples of the input: 12; 1 dropped, 6 kept, 1 purified, 2 quarantined, 2 relabelled\n" in card
    assert "under attack\\: stop (3 flagged, score 0\\.970, joint)" in card
    assert cells(card) == [
        ["given label", "became", "label now", "samples"],
        ["stop", "purified", "stop", "1"],
        ["stop", "quarantined", "", "1"],
        ["stop", "relabelled", "yield", "1"],
        ["yield", "dropped", "", "1"],
        ["yield", "quarantined", "", "1"],
        ["yield", "relabelled", "stop", "1"],
    ]
    assert "`elixir restore DATASET -o ORIGINAL`" in card


def with_classes(classes: list[str], path: Path) -> Result:
    """A run of one sample of each class, which was given the label of the next one."""
    known = dict.fromkeys(ManifestRow.__annotations__, "") | {"flagged": True, "action": "relabelled", "output": "x"}
    numbers = dict.fromkeys(("height", "width", "seed", "poison_score", "confidence"), 1)
    write_manifest(
        path,
        (
            ManifestRow(**{**known, **numbers, "id": str(row), "label": row, "new_label": (row + 1) % len(classes)})
            for row in range(len(classes))
        ),
        classes,
    )
    return replace(read_result(V02), table=read_manifest(path))


def test_hostile_names_are_text(tmp_path: Path) -> None:
    card = dataset_card(with_classes(HOSTILE, tmp_path / "m.parquet"))
    expected = {(name, HOSTILE[(row + 1) % len(HOSTILE)]) for row, name in enumerate(HOSTILE)}
    rows = [(given, now) for given, became, now, count in cells(card)[1:] if (became, count) == ("relabelled", "1")]
    assert set(rows) == {(printable(given), printable(now)) for given, now in expected}
    html = MARKDOWN.render(card)
    assert "<script" not in html
    assert "<a " not in html
    assert "<img" not in html


def test_long_tables_are_cut(tmp_path: Path) -> None:
    card = dataset_card(with_classes([f"c{row}" for row in range(FLOWS + 3)], tmp_path / "m.parquet"))
    assert len(cells(card)) == FLOWS + 1
    assert "\nand 3 more.\n" in card


def test_decisions_of_people_are_counted() -> None:
    result = read_result(V02)
    at = result.table.schema.get_field_index("decision")
    decided = result.table.set_column(at, "decision", pa.array(["keep", "drop"] + [""] * 10))
    assert "- Decided by people: 2\n" in dataset_card(replace(result, table=decided))
    assert "Decided" not in dataset_card(result)


def test_a_scan_has_no_card() -> None:
    result = read_result(V02)
    config = result.config | {"stages": {"write": {"dataset": False}}}
    with pytest.raises(ElixirError, match="scan has changed nothing"):
        dataset_card(replace(result, config=config))
