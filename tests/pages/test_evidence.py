"""The page with the evidence."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from jinja2 import UndefinedError
from small_world import png

from elixir.data.manifest import ManifestRow, read_manifest, write_manifest
from elixir.data.sink import Action
from elixir.detection.decide import LabelReport, LabelTest
from elixir.pages import render
from elixir.pages.evidence import write_evidence_page
from elixir.result import AttackedLabel, Result

HOSTILE = '<img src=x onerror="alert(1)">'
ID = HOSTILE + "/\x1b{}.png"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def row(index: int, action: Action, height: int = 8, confidence: float = float("nan")) -> ManifestRow:
    new = 0 if action == "relabelled" else 1
    return ManifestRow(
        f"{HOSTILE}/\x1b{index}.png",
        "x",
        1,
        new,
        "o",
        action,
        "poisoned",
        "",
        "",
        height,
        8,
        0.9,
        True,
        confidence,
        0,
        "",
    )


def write(folder: Path, rows: list[ManifestRow]) -> tuple[str, Tags]:
    write_manifest(folder / "manifest.parquet", rows, ["good", HOSTILE])
    repaired = {row: file.read_bytes() for row in range(len(rows)) if (file := folder / f"{row}.png").exists()}
    pictures: Any = SimpleNamespace(
        before=lambda row: png(np.full((8, 8, 3), 40 * row % 256, np.uint8)),
        after=repaired.get,
    )
    attacked = AttackedLabel(1, HOSTILE, 2, 0.8, "joint", "direct", {"trigger_transfer": 0.9})
    report = LabelReport(1, HOSTILE, len(rows), (LabelTest("joint", "direct", 2, 0.8, True),))
    table = read_manifest(folder / "manifest.parquet")
    result = Result(folder, [attacked], [report], table, {}, {"source": HOSTILE}, notes=[f"not looked at: {ID}"])
    write_evidence_page(result, pictures, {1: torch.zeros(3, 8, 8)}, folder / "report.html")
    text = (folder / "report.html").read_text()
    tags = Tags()
    tags.feed(text)
    return text, tags


def test_hostile_names_are_text(tmp_path: Path):
    (tmp_path / "0.png").write_bytes(png(np.zeros((8, 8, 3), np.uint8)))
    text, tags = write(tmp_path, [row(0, "relabelled"), row(1, "quarantined"), row(2, "kept")])
    assert "\x1b" not in text
    assert "<p>Note: not looked at: &lt;img src=x" in text
    layout = {"html", "meta", "title", "style", "h1", "h2", "h3", "p", "pre", "br", "img", "figure", "figcaption"}
    assert {tag for tag, _ in tags.seen} <= layout | {"table", "thead", "tbody", "tr", "th", "td"}
    images = [attributes for tag, attributes in tags.seen if tag == "img"]
    assert len(images) == 4  # the trigger, before and after, and the one that was set aside
    assert all(image.keys() == {"alt", "src"} and str(image["src"]).startswith("data:image/png") for image in images)


def test_a_picture_has_its_scores_below_it(tmp_path: Path):
    text, _ = write(tmp_path, [row(0, "relabelled", confidence=0.75), row(1, "quarantined")])
    assert "poison score 0.900, confidence 0.750, poisoned" in text
    assert "poison score 0.900, poisoned" in text


def test_samples_that_cannot_be_read_are_not_shown(tmp_path: Path):
    _, tags = write(tmp_path, [row(0, "quarantined", height=0)])
    assert [tag for tag, _ in tags.seen].count("img") == 1


def test_thumbnails_are_capped_and_the_count_is_not(tmp_path: Path):
    text, tags = write(tmp_path, [row(index, "purified") for index in range(40)])
    assert [tag for tag, _ in tags.seen].count("figure") == 1 + 24  # the trigger, and samples
    assert "Changed: 40" in text
    assert "2 flagged, score 0.800, decided by joint (trigger transfer 0.900)." in text


def test_the_same_run_gives_the_same_bytes(tmp_path: Path):
    rows = [row(index, "quarantined") for index in range(3)]
    assert write(tmp_path, rows)[0] == write(tmp_path, rows)[0]


def test_a_template_without_its_values_is_an_error():
    with pytest.raises(UndefinedError):
        render("evidence.html.j2", title="no values")
