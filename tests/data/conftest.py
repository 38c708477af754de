"""Small datasets, and a stand-in for the stages that decide about samples."""

import hashlib
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from elixir.data.image import decode, encode
from elixir.data.manifest import ManifestRow, write_manifest
from elixir.data.open import open_sink, open_source
from elixir.data.sink import Decision
from elixir.data.source import Kind, Source
from elixir.data.tables.table import TableSource
from elixir.errors import UnreadableSample

Decide = Callable[[Source, int], Decision]


def image_bytes(seed: int, kind: str = "PNG", size: tuple[int, int] = (6, 5)) -> bytes:
    rgb = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(rgb).save(buffer, kind)
    return buffer.getvalue()


def warning_jpeg() -> bytes:
    """An image with broken metadata, about which Pillow warns."""
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0")
    return buffer.getvalue()


def make_tree(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def read_tree(root: Path, skip: str = ".elixir") -> dict[str, bytes | None]:
    """Contents of every file by path, None for every folder."""
    found: dict[str, bytes | None] = {}
    for folder, folders, files in os.walk(root):
        if Path(folder) == root and skip in folders:
            folders.remove(skip)
        for name in folders:
            found[os.path.relpath(Path(folder, name), root)] = None
        for name in files:
            found[os.path.relpath(Path(folder, name), root)] = Path(folder, name).read_bytes()
    return found


def keep(source: Source, index: int) -> Decision:
    """Keep what can be read."""
    sample = source.samples[index]
    try:
        decode(source.read(index))
    except UnreadableSample:
        return Decision("quarantined", sample.label)
    return Decision("quarantined" if sample.problem else "kept", sample.label)


def change_some(seed: int) -> Decide:
    """One action or another for what can be read."""

    def decide(source: Source, index: int) -> Decision:
        kept = keep(source, index)
        if kept.action != "kept":
            return kept
        random = np.random.default_rng((seed, index))
        other = int(random.integers(len(source.classes)))
        picture = decode(source.read(index))
        purified = encode(picture, 255 - picture.rgb)
        choices = (
            kept,
            Decision("purified", kept.label, purified),
            Decision("relabelled", other, purified),
            Decision("relabelled", other),
            Decision("dropped", kept.label),
            Decision("quarantined", kept.label),
        )
        return choices[random.integers(len(choices))]

    return decide


def emit(source: Source, kind: Kind, dst: Path, decide: Decide = keep, shard_bytes: int | None = None) -> list[str]:
    """Write a whole dataset with its manifest; returns where each sample went."""
    sink = open_sink(kind, dst, source, shard_bytes)
    rows = []
    for index, sample in enumerate(source.samples):
        decision = decide(source, index)
        try:
            digest = hashlib.sha256(source.read(index)).hexdigest()
        except UnreadableSample:
            digest = None
        output = sink.write(index, decision)
        original = sink.original(index, decision)
        columns = {"id": sample.id, "action": decision.action, "output": output, "original": original}
        rows.append({**columns, "sha256_in": digest})
    sink.close()
    pq.write_table(pa.Table.from_pylist(rows), dst / ".elixir/manifest.parquet")
    return [row["output"] for row in rows]


def sanitized(source: Source, kind: Kind, dst: Path, decide: Decide = keep) -> list[Decision]:
    """Write a whole dataset with a manifest as a run does; returns the decisions.

    Every other sample is flagged, of a score and a confidence of its own.
    """
    sink = open_sink(kind, dst, source)
    decisions, rows = [decide(source, index) for index in range(len(source.samples))], []
    for index, (sample, decision) in enumerate(zip(source.samples, decisions, strict=True)):
        try:
            digest = "" if sample.problem else hashlib.sha256(source.read(index)).hexdigest()
        except UnreadableSample:
            digest = ""
        readable = bool(digest) and keep(source, index).action == "kept"
        output = sink.write(index, decision)
        flagged = readable and index % 2 == 0
        rows.append(
            ManifestRow(
                id=sample.id,
                name=sample.name,
                label=sample.label,
                new_label=decision.label if decision.written else -1,
                output=output,
                action=decision.action,
                reason="poisoned" if readable and decision.action != "kept" else "",
                sha256_in=digest,
                sha256_out=(hashlib.sha256(decision.data).hexdigest() if decision.data else digest) if output else "",
                height=6 if readable else 0,
                width=5 if readable else 0,
                poison_score=(index + 1) / (len(source.samples) + 1) if readable else float("nan"),
                flagged=flagged,
                confidence=1 / (index + 1) if flagged else float("nan"),
                seed=0,
                original=sink.original(index, decision),
            )
        )
    sink.close()
    write_manifest(dst / ".elixir/manifest.parquet", rows, source.classes)
    return decisions


def open_table(src: Any, **options: Any) -> TableSource:
    source = open_source(src, **options)
    assert isinstance(source, TableSource)
    return source


def table(rows: int = 7, start: int = 0) -> datasets.Dataset:
    """Label, path and one more column; the last row has no image."""
    names = ["cat", "dog/2", ".."]
    columns = {
        "image": [{"bytes": image_bytes(start + row), "path": f"p/{row % 4}.png"} for row in range(rows - 1)] + [None],
        "label": [row % 3 for row in range(rows)],
        "track": [row * 11 for row in range(rows)],
    }
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=names), "track": datasets.Value("int32")}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes, several formats, a sub-folder, an empty class, files that are no samples."""
    files = {
        "cat/a.png": image_bytes(0),
        "cat/b.jpg": image_bytes(1, "JPEG"),
        "cat/sub/c.webp": image_bytes(2, "WEBP"),
        "dog/a.png": image_bytes(3),
        "dog/d.bmp": image_bytes(4, "BMP"),
        "dog/e.ppm": image_bytes(5, "PPM"),
        "dog/f.tiff": image_bytes(6, "TIFF"),
        "dog/notes.txt": b"not an image",
        "dog/.DS_Store": b"\0\0\0\1Bud1",
        "readme.md": b"# signs",
        ".git/config": b"[core]",
    }
    make_tree(tmp_path / "tree", files)
    (tmp_path / "tree/empty").mkdir()
    return tmp_path / "tree"
