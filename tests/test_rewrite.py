"""Decisions of people about a result: it is written again with them, all or nothing, and the input comes back."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import datasets
import pytest
from data.conftest import image_bytes, make_tree, read_tree, table
from small_world import elixir, place
from test_result import NEW, judged
from webdataset.writer import TarWriter

from elixir.api import decide, restore, sanitize, scan
from elixir.data.decisions import HumanDecision
from elixir.data.image import decode
from elixir.data.open import open_source
from elixir.data.paths import file_name
from elixir.data.source import Source
from elixir.errors import UnreadableSample
from elixir.result import Result, output_options, read_result

AT = "2026-01-02T03:04:05+00:00"


def folder(root: Path) -> Path:
    names = ["cat/a.png", "cat/b.png", "cat/sub/c.png", "dog/a.png", "dog/b.png", "dog/c.png", "dog/broken.png"]
    files = {name: image_bytes(seed) for seed, name in enumerate(names)} | {"dog/broken.png": b"", "notes.txt": b"hi"}
    return make_tree(root, files)


def listed(root: Path) -> Path:
    files = {f"images/{number}.png": image_bytes(number) for number in range(7)} | {"images/6.png": b""}
    lines = [f"images/{number}.png,{'dog' if number > 2 else 'cat'}\n" for number in range(7)]
    return make_tree(root, files | {"labels.csv": ("file,label\n" + "".join(lines)).encode()})


def saved(root: Path) -> Path:
    datasets.DatasetDict({"train": table(7), "test": table(5, start=50)}).save_to_disk(str(root))
    return root


def parquet(root: Path) -> Path:
    root.mkdir()
    for name, rows, start in (("train-0", 3, 0), ("train-1", 5, 9), ("test", 4, 50)):
        table(rows, start).to_parquet(str(root / f"{name}.parquet"))
    (root / "README.md").write_text("# Signs\n")
    return root


def shards(root: Path) -> Path:
    root.mkdir()
    for shard in range(2):
        with TarWriter(str(root / f"train-{shard}.tar")) as writer:
            for key in range(4):
                image = b"" if shard and key == 3 else image_bytes(4 * shard + key)
                writer.write({"__key__": f"a/{shard}{key}", "png": image, "cls": key % 3, "json": {"more": key}})
    return root


SOURCES: dict[str, Callable[[Path], Path]] = {
    "folder": folder,
    "list": listed,
    "hf": saved,
    "parquet": parquet,
    "webdataset": shards,
}
WAYS = [(kind, kind) for kind in SOURCES] + [
    *(("folder", to) for to in ("hf", "parquet", "webdataset")),
    *(("list", to) for to in ("folder", "parquet")),
    *(("hf", to) for to in ("folder", "webdataset")),
    *(("parquet", to) for to in ("folder", "webdataset")),
    *(("webdataset", to) for to in ("folder", "parquet", "hf")),
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def cleaned(tmp_path: Path, kind: str = "folder", to: str | None = None) -> Result:
    """The first sample is set aside, the third has a new picture and, if it needs one, the label of the first class."""
    return judged().run(SOURCES[kind](tmp_path / "src"), tmp_path / "dst", to=to)


def keep(id: str) -> HumanDecision:
    return HumanDecision(id, "keep", by="ann", at=AT)


def drop(id: str) -> HumanDecision:
    return HumanDecision(id, "drop", by="ann", at=AT)


def relabel(id: str, label: str) -> HumanDecision:
    return HumanDecision(id, "relabel", label, "ann", AT)


def written(result: Result) -> dict[str, tuple[bytes, str]]:
    """Picture and class of each sample in the output, by its id, read as any dataset is."""
    dst, config = place(result), result.config
    start = "folder:" if config["to"] == "folder" else ""
    source = open_source(f"{start}{dst}", **output_options(config))
    there = {sample.id: row for row, sample in enumerate(source.samples)}
    rows = [row for row in result.table.to_pylist() if row["output"]]
    names = [row["output"] for row in rows]
    assert sorted(there) == sorted(names)
    found = {}
    for row, name in zip(rows, names, strict=True):
        data, label = source.read(there[name]), source.samples[there[name]].label
        assert source.classes[label] == (file_name(row["new_class"]) if start else row["new_class"])
        found[row["id"]] = (data, row["new_class"])
    return found


def came_back(kind: str, src: Path, back: Path) -> bool:
    """Whether a rebuilt input is the same: files byte for byte, rows of tables value by value."""
    if kind not in ("hf", "parquet"):
        return read_tree(src) == read_tree(back)
    one, other = open_source(src), open_source(back)
    rows: Any = [[source.rows.row(row).to_pylist() for row in range(len(source.samples))] for source in (one, other)]  # type: ignore[attr-defined]
    return rows[0] == rows[1] and one.samples[0].id == other.samples[0].id


def readable(source: Source) -> dict[str, tuple[bytes, str]]:
    """Bytes and class of the samples that the run can use."""
    found = {}
    for row, sample in enumerate(source.samples):
        with suppress(UnreadableSample):
            decode(data := source.read(row))
            found[sample.id] = (data, source.classes[sample.label])
    return found


@pytest.mark.parametrize(("kind", "to"), WAYS, ids=[f"{kind}-to-{to}" for kind, to in WAYS])
def test_each_decision_about_each_kind(tmp_path: Path, kind: str, to: str) -> None:
    result = cleaned(tmp_path, kind, to)
    source = open_source(tmp_path / "src")
    given = readable(source)
    first, second, third, fourth, fifth, *_ = given
    other = next(name for name in source.classes if name != given[fifth][1])
    before = written(result)
    assert before == {id: what for id, what in given.items() if id != first} | {third: (NEW, before[third][1])}
    decisions = [keep(first), drop(second), keep(third), keep(fourth), relabel(fifth, other)]
    result = decide(place(result), decisions)
    assert written(result) == {id: what for id, what in given.items() if id != second} | {fifth: (given[fifth][0], other)}
    rows = {row["id"]: row for row in result.table.to_pylist()}
    actions = ["kept", "dropped", "kept", "kept", "relabelled"]
    for one, action in zip(decisions, actions, strict=True):
        told = [rows[one.id][name] for name in ("action", "decision", "decided_by", "decided_at", "reason")]
        assert told == [action, one.decision, "ann", AT, "decided by ann"]
    assert {row["decision"] for id, row in rows.items() if id not in {one.id for one in decisions}} == {""}
    restore(place(result), tmp_path / "back")
    assert came_back(kind, tmp_path / "src", tmp_path / "back")
    for label in source.classes:  # with the repaired picture, though it was not in the output
        result = decide(place(result), [relabel(third, label), relabel(second, given[second][1])])
        after = written(result)
        assert (after[first], after[second], after[third]) == (given[first], given[second], (NEW, label))
        row = next(row for row in result.table.to_pylist() if row["id"] == third)
        assert row["action"] == ("purified" if label == given[third][1] else "relabelled")
    restore(place(result), tmp_path / "again")
    assert came_back(kind, tmp_path / "src", tmp_path / "again")
