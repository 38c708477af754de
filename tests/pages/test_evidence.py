"""The page with the evidence."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from small_world import png

from elixir.data.image import decode
from elixir.data.manifest import ManifestRow, read_manifest, write_manifest
from elixir.pages.evidence import write_evidence_page
from elixir.result import Result, Target

HOSTILE = '<img src=x onerror="alert(1)">'


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def row(place: int, action: str, height: int = 8, confidence: float = float("nan")) -> ManifestRow:
    new = 0 if action == "relabelled" else 1
    return ManifestRow(
        f"{HOSTILE}/\x1b{place}.png", "x", 1, new, "o", action, "poisoned", "", "", height, 8, 0.9, confidence, 0, ""
    )


def write(folder: Path, rows: list[ManifestRow]) -> tuple[str, Tags]:
    write_manifest(folder / "manifest.parquet", rows, ["good", HOSTILE])
    run: Any = SimpleNamespace(
        picture=lambda place: decode(png(np.full((8, 8, 3), 40 * place, np.uint8))),
        findings={"max_pixels": 10**6, "scores": {HOSTILE: 0.8}},
        triggers={1: torch.zeros(3, 8, 8)},
        selected_path=lambda place: folder / f"{place}.png",
    )
    target = Target(1, HOSTILE, 0.8, 2, "trigger", {"transplant": 0.9})
    result = Result(folder, [target], read_manifest(folder / "manifest.parquet"), {}, {"source": HOSTILE})
    write_evidence_page(run, result, folder / "report.html")
    text = (folder / "report.html").read_text()
    tags = Tags()
    tags.feed(text)
    return text, tags


def test_names_of_strangers_are_text(tmp_path: Path):
    (tmp_path / "0.png").write_bytes(png(np.zeros((8, 8, 3), np.uint8)))
    text, tags = write(tmp_path, [row(0, "relabelled"), row(1, "quarantined"), row(2, "kept")])
    assert "\x1b" not in text
    layout = {"html", "meta", "title", "style", "h1", "h2", "h3", "p", "pre", "br", "img", "figure", "figcaption"}
    assert {tag for tag, _ in tags.seen} <= layout | {"table", "thead", "tbody", "tr", "th", "td"}
    images = [attributes for tag, attributes in tags.seen if tag == "img"]
    assert len(images) == 4  # the trigger, before and after, and the one that was set aside
    assert all(image.keys() == {"alt", "src"} and str(image["src"]).startswith("data:image/png") for image in images)


def test_a_picture_says_what_speaks_for_it(tmp_path: Path):
    text, _ = write(tmp_path, [row(0, "relabelled", confidence=0.75), row(1, "quarantined")])
    assert "suspicion 0.900, confidence 0.750, poisoned" in text
    assert "suspicion 0.900, poisoned" in text


def test_samples_that_cannot_be_read_are_not_shown(tmp_path: Path):
    _, tags = write(tmp_path, [row(0, "quarantined", height=0)])
    assert [tag for tag, _ in tags.seen].count("img") == 1
