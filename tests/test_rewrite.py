"""Decisions of people about a result: it is written again with them, all or nothing, and the input comes back."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import datasets
import numpy as np
import pytest
from data.conftest import image_bytes, make_tree, read_tree, table
from small_world import elixir, place
from test_result import NEW, judged
from webdataset.writer import TarWriter

from elixir import rewrite
from elixir.api import decide, restore, sanitize, scan
from elixir.data.backup import SinkWithBackup
from elixir.data.decision_files import write_decisions
from elixir.data.decisions import HumanDecision
from elixir.data.image import decode
from elixir.data.open import open_source
from elixir.data.paths import file_name
from elixir.data.source import Source
from elixir.data.workdir import WorkDir
from elixir.errors import ElixirError, UnreadableSample
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
    assert written(result) == {id: what for id, what in given.items() if id != second} | {
        fifth: (given[fifth][0], other)
    }
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


def everything(dst: Path) -> dict[str, bytes | None]:
    """Every file of an output, with those of the run; the report names the output, to decide about it."""
    files = read_tree(dst, skip="")
    report = files[".elixir/report.html"] or b""
    return files | {".elixir/report.html": report.replace(f'data-folder="{dst.name}"'.encode(), b"")}


@pytest.mark.parametrize("kind", SOURCES)
def test_the_same_decisions_give_the_same_bytes_in_any_order(tmp_path: Path, kind: str) -> None:
    result = cleaned(tmp_path, kind)
    dst, one, three = place(result), tmp_path / "one", tmp_path / "three"
    first, second, third, fourth, *_ = readable(open_source(tmp_path / "src"))
    label = open_source(tmp_path / "src").classes[1]
    for copy in (one, three):
        shutil.copytree(dst, copy)
    final = [keep(first), relabel(third, label), drop(fourth)]
    decide(one, final)
    for decisions in ([drop(second), keep(third), drop(first)], [keep(second), keep(first)], final):
        decide(three, decisions)
    decide(one, [keep(second)])
    assert everything(one) == everything(three)
    decide(one, [*final, keep(second)])
    assert everything(one) == everything(three)
    assert read_result(one).summary(times=False) == (one / ".elixir/summary.txt").read_text()


def test_who_decides_again_what_he_has_decided_changes_nothing(tmp_path: Path) -> None:
    dst = place(cleaned(tmp_path))
    decide(dst, [HumanDecision("cat/a.png", "keep")], by="ann")
    before = everything(dst)
    row = read_result(dst).table.to_pylist()[0]
    assert datetime.fromisoformat(row["decided_at"]) <= datetime.now(UTC)
    decide(dst, [HumanDecision("cat/a.png", "keep")], by="ann")
    assert everything(dst) == before
    decide(dst, [HumanDecision("cat/a.png", "keep")], by="bob")
    assert read_result(dst).table.to_pylist()[0]["decided_by"] == "bob"


def test_what_the_run_has_found_is_carried_over_and_the_pages_are_written_anew(tmp_path: Path) -> None:
    dst = place(cleaned(tmp_path))
    (dst / ".elixir/models/clean.safetensors").write_bytes(b"weights")
    before = everything(dst)
    config = json.loads(before[".elixir/run.json"] or b"")
    decide(dst, [drop("cat/b.png")])
    after = everything(dst)
    for name in ("labels.parquet", "timings.json", "models/clean.safetensors"):
        assert after[f".elixir/{name}"] == before[f".elixir/{name}"]
    assert json.loads(after[".elixir/run.json"] or b"") == config | {"decisions": ANY}
    assert b"1 dropped, 2 kept, 2 quarantined, 2 relabelled" not in (before[".elixir/summary.txt"] or b"")
    assert b"1 dropped" in (after[".elixir/summary.txt"] or b"")
    assert b"\ndecided by people: 1\n" in (after[".elixir/summary.txt"] or b"")
    assert b"1 was dropped" in (after[".elixir/report.html"] or b"")
    assert json.loads(after[".elixir/findings.json"] or b"") == json.loads(before[".elixir/findings.json"] or b"")


def test_files_of_yours_in_the_output_stay(tmp_path: Path) -> None:
    dst = place(cleaned(tmp_path))
    make_tree(dst, {".git/HEAD": b"ref", "train.py": b"code", "cat/.DS_Store": b"\0"})
    (dst / "data").symlink_to(tmp_path / "src")
    decide(dst, [drop("cat/b.png")])
    found = read_tree(dst)
    assert (found[".git/HEAD"], found["train.py"], found["cat/.DS_Store"]) == (b"ref", b"code", b"\0")
    assert (dst / "data").readlink() == tmp_path / "src"
    assert "cat/b.png" not in found
    (dst / "cat/b.png").write_bytes(b"mine")
    with pytest.raises(ElixirError, match=r"cat/b\.png in .* is not of the run, and a sample needs its name now"):
        decide(dst, [keep("cat/b.png")])
    assert (dst / "cat/b.png").read_bytes() == b"mine"


def fails_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, error: BaseException) -> None:
    """Let a function raise at its nth call."""
    real, calls = getattr(owner, name), iter(range(10**6))

    def failing(*args: Any, **more: Any) -> Any:
        if next(calls) == call:
            raise error
        return real(*args, **more)

    monkeypatch.setattr(owner, name, failing)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "^C"])
@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (SinkWithBackup, "write", 3),
        (SinkWithBackup, "close", 0),
        (rewrite, "restore", 0),
        (rewrite, "write_for_people", 0),
        (WorkDir, "sign", 0),
        (WorkDir, "publish", 0),
        ("publish", "replace", 0),
        ("publish", "replace", 1),
    ],
)
def test_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, error: BaseException
) -> None:
    dst = place(cleaned(tmp_path))
    before = everything(dst)
    with monkeypatch.context() as patch:
        if owner == "publish":  # after all else
            real = WorkDir.publish

            def publish(work: WorkDir, overwrite: bool = False) -> None:
                if work.dst == dst:
                    fails_at(patch, os, name, call, error)
                real(work, overwrite)

            patch.setattr(WorkDir, "publish", publish)
        else:
            fails_at(patch, owner, name, call, error)
        with pytest.raises((ElixirError, OSError, KeyboardInterrupt)):
            decide(dst, [keep("cat/a.png"), drop("cat/b.png")])
    assert everything(dst) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dst", "src"]
    decide(dst, [keep("cat/a.png"), drop("cat/b.png")])
    assert read_result(dst).counts == {"kept": 4, "dropped": 1, "purified": 1, "quarantined": 1}


@pytest.mark.parametrize("moment", ["write", "first", "second", "last"])
def test_a_killed_process_leaves_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    dst = place(cleaned(tmp_path))
    before = everything(dst)
    decisions = [keep("cat/a.png"), drop("cat/b.png")]
    child = os.fork()
    if not child:
        real, moves = os.replace, iter(("first", "second"))

        def replace(source: Any, target: Any) -> None:
            if dst in (Path(source), Path(target)) and next(moves) == moment:
                os._exit(9)
            real(source, target)

        os.replace = replace
        if moment == "write":
            SinkWithBackup.close = lambda self: os._exit(9)
        if moment == "last":
            WorkDir.discard = lambda self: os._exit(9) if (self.path / "replaced").exists() else None
        decide(dst, decisions)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    if moment in ("write", "first"):
        assert everything(dst) == before
    elif moment == "second":  # nothing is there until the next command
        assert not dst.exists()
        with pytest.raises(ElixirError, match="not there: nobody"):
            decide(dst, [keep("nobody")])
        assert everything(dst) == before
    else:
        assert read_result(dst).counts["dropped"] == 1
    decide(dst, decisions)
    assert read_result(dst).counts == {"kept": 4, "dropped": 1, "purified": 1, "quarantined": 1}
    other = tmp_path / "other"
    judged().run(tmp_path / "src", other)
    decide(other, decisions)
    named = {"run.json", "timings.json"}
    strip = {path: data for path, data in everything(dst).items() if Path(path).name not in named}
    assert strip == {path: data for path, data in everything(other).items() if Path(path).name not in named}


def test_an_interrupted_run_is_not_lost(tmp_path: Path) -> None:
    dst = place(cleaned(tmp_path))
    work = WorkDir(dst)
    work.begin({"hours": "of work"})
    with pytest.raises(ElixirError, match=r"an interrupted run for .* was found; repeat its command with --resume"):
        decide(dst, [drop("cat/b.png")])
    assert (work.path / "run.json").exists()


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        (HumanDecision("cat/x.png", "keep"), r"1 decisions are about samples that are not there: cat/x\.png; give the"),
        (HumanDecision("../src/cat/a.png", "drop"), r"not there: \.\./src/cat/a\.png"),
        (HumanDecision("a\x1b[2J", "drop"), r"not there: a\\x1b\[2J"),
        (HumanDecision("cat/a.png", "relabel", "dogs"), "the dataset has no class 'dogs'; did you mean 'dog'"),
        (HumanDecision("cat/a.png", "relabel"), "the dataset has no class ''"),
        (HumanDecision("cat/a.png", "burn"), "unknown decision 'burn'; possible: keep, relabel, drop"),  # type: ignore[arg-type]
        (HumanDecision("", "keep"), "which sample"),
        (HumanDecision("cat/a.png", "keep", by="\udce9"), "no UTF-8"),
        (HumanDecision("dog/broken.png", "keep"), r"dog/broken\.png was set aside \(.*\) and cannot be kept or"),
        (HumanDecision("dog/broken.png", "relabel", "cat"), "cannot be kept or relabelled; leave it out"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    tmp_path: Path, decision: HumanDecision, message: str
) -> None:
    dst = place(cleaned(tmp_path))
    before = everything(dst)
    with pytest.raises(ElixirError, match=message):
        decide(dst, [drop("cat/b.png"), decision])
    with pytest.raises(ElixirError, match=r"decides twice about 'cat/b\.png'"):
        decide(dst, [drop("cat/b.png"), keep("cat/b.png")])
    assert everything(dst) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dst", "src"]


def test_what_could_not_be_read_may_be_dropped(tmp_path: Path) -> None:
    dst = place(cleaned(tmp_path))
    result = decide(dst, [drop("dog/broken.png")])
    row = next(row for row in result.table.to_pylist() if row["id"] == "dog/broken.png")
    assert (row["action"], row["original"]) == ("dropped", ".elixir/originals/dog/broken.png")
    restore(dst, tmp_path / "back")
    assert read_tree(tmp_path / "back") == read_tree(tmp_path / "src")


@pytest.mark.skipif(os.name != "posix", reason="there are no pipes")
def test_samples_that_are_no_files_stay_out(tmp_path: Path) -> None:
    src = folder(tmp_path / "src")
    os.mkfifo(src / "cat/pipe.png")
    (src / "dog/gone.png").symlink_to("nowhere.png")
    result = judged().run(src, tmp_path / "dst")
    again = decide(tmp_path / "dst", [keep("cat/a.png")])
    assert again.unreadable_files == result.unreadable_files == ["cat/pipe.png"]
    assert repr(again.table.to_pylist()[1:]) == repr(result.table.to_pylist()[1:])
    restore(tmp_path / "dst", tmp_path / "back")
    assert (tmp_path / "back/dog/gone.png").readlink() == Path("nowhere.png")
    for path in (src / "cat/pipe.png", src / "dog/gone.png", tmp_path / "back/dog/gone.png"):
        path.unlink()
    assert read_tree(tmp_path / "back") == read_tree(src)


def test_hostile_names(tmp_path: Path) -> None:
    names = ["a=b/x,y.png", 'a=b/"q".png', "a=b/\n.png", "=/-1.png", "=/é.png", "=/\\x41.png", "=/%2E.png"]
    if sys.platform == "linux":
        names.append(os.fsdecode(b"=/caf\xe9.png"))
    src = make_tree(tmp_path / "src", {name: image_bytes(seed) for seed, name in enumerate(names)})
    dst = place(judged().run(src, tmp_path / "dst"))
    ids = [row["id"] for row in read_result(dst).table.to_pylist()]
    decisions = [HumanDecision(id, "relabel", "a=b" if id.startswith("=") else "=", '=cmd|"x"', AT) for id in ids]
    write_decisions(tmp_path / "decisions.csv", decisions)
    result = decide(dst, tmp_path / "decisions.csv")
    assert len(written(result)) == len(names)
    assert {row["decided_by"] for row in result.table.to_pylist()} == {'=cmd|"x"'}
    restore(dst, tmp_path / "back")
    assert read_tree(tmp_path / "back") == read_tree(src)


def test_a_scan_has_nothing_to_write_again(tmp_path: Path) -> None:
    result = scan(folder(tmp_path / "src"), tmp_path / "dst", pipeline=judged())
    with pytest.raises(ElixirError, match="a scan has found, without a dataset; give the decisions to"):
        decide(place(result), [drop("cat/b.png")])
    with pytest.raises(ElixirError, match="src holds no result; give what `elixir sanitize` has written"):
        decide(tmp_path / "src", [drop("cat/b.png")])
    with pytest.raises(ElixirError, match="nowhere/x holds no result"):
        decide(tmp_path / "nowhere/x", [drop("cat/b.png")])
    assert not (tmp_path / "nowhere").exists()


def test_splits_that_would_be_lost_are_not(tmp_path: Path) -> None:
    dst = place(cleaned(tmp_path, "parquet", "hf"))
    before = everything(dst)
    with pytest.raises(ElixirError, match=r"other splits of an input of another kind \(parquet\); sanitize it again"):
        decide(dst, [drop("train-0/00000001")])
    assert everything(dst) == before


def test_a_changed_output_is_refused(tmp_path: Path) -> None:
    dst = place(cleaned(tmp_path))
    (dst / "cat/b.png").write_bytes(NEW)
    before = everything(dst)
    with pytest.raises(ElixirError, match=r"cat/b\.png is not what it was in the input"):
        decide(dst, [keep("cat/a.png")])
    assert everything(dst) == before


@pytest.mark.parametrize("kind", ["object", "arrays", "any name", "pattern"])
def test_sources_that_are_no_folder(tmp_path: Path, kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    shutil.copy(parquet(tmp_path / "src") / "train-1.parquet", tmp_path / "data.bin")
    sources = {
        "object": table(7),
        "arrays": (pixels, np.arange(6) % 2),
        "any name": f"parquet:{tmp_path}/data.bin",
        "pattern": f"{tmp_path}/src/train-*.parquet",
    }
    result = judged().run(sources[kind], tmp_path / "dst")
    first, second, third, *_ = [row["id"] for row in result.table.to_pylist() if row["height"]]
    again = decide(tmp_path / "dst", [keep(first), drop(second), relabel(third, list(result.classes)[1])])
    assert [row["action"] == "dropped" for row in again.table.to_pylist() if row["height"]][:3] == [False, True, False]
    assert again.notes == result.notes
    before = readable(open_source(sources[kind]))
    restore(tmp_path / "dst", tmp_path / "back")
    back = tmp_path / "back"
    assert readable(open_source(f"parquet:{back}/data.bin" if kind == "any name" else back)) == before


def test_a_split_and_a_list_alone(tmp_path: Path) -> None:
    """Inputs that would be read as something else without being told."""
    files = {f"{label}/{name}.png": image_bytes(ord(name)) for label in "ab" for name in "xyz"}
    splits = {f"{split}/{path}": data for split in ("Training", "val") for path, data in files.items()}
    judged().run(make_tree(tmp_path / "splits", splits), tmp_path / "one", split="train")
    decide(tmp_path / "one", [keep("Training/a/x.png"), relabel("Training/b/z.png", "a")])
    restore(tmp_path / "one", tmp_path / "one-back")
    assert read_tree(tmp_path / "one-back") == read_tree(tmp_path / "splits")
    rows = "".join(f"{name},{'cat' if number % 2 else 'dog'}\n" for number, name in enumerate(files))
    src = make_tree(tmp_path / "listed", files | {"list.csv": f"file,label\n{rows}".encode()})
    judged().run(f"list:{src}/list.csv", tmp_path / "two")
    result = decide(tmp_path / "two", [keep("a/x.png"), relabel("b/z.png", "dog")])
    assert result.notes[:2] == read_result(tmp_path / "two").notes[:2]
    assert b"b/z.png,dog" in (tmp_path / "two/list.csv").read_bytes()
    restore(tmp_path / "two", tmp_path / "two-back")
    assert read_tree(tmp_path / "two-back") == read_tree(src)


def test_decisions_survive_another_run(tmp_path: Path) -> None:
    dst = place(cleaned(tmp_path))
    decisions = [keep("cat/a.png"), drop("cat/b.png"), relabel("dog/b.png", "cat"), relabel("cat/sub/c.png", "dog")]
    decide(dst, decisions)
    before = everything(dst)
    judged().run(tmp_path / "src", dst, overwrite=True)
    named = (".elixir/timings.json",)
    assert {path: data for path, data in everything(dst).items() if path not in named} == {
        path: data for path, data in before.items() if path not in named
    }
    assert judged().run(tmp_path / "src", dst, resume=True).counts["dropped"] == 1  # there is nothing to do
    (tmp_path / "src/cat/a.png").write_bytes(image_bytes(99))
    (tmp_path / "src/dog/b.png").unlink()
    result = judged().run(tmp_path / "src", dst, overwrite=True)
    told = (
        "2 decisions about the output of before do not hold, as the samples have changed or gone: cat/a.png, dog/b.png"
    )
    assert told in result.notes
    rows = {row["id"]: row for row in result.table.to_pylist()}
    assert [rows[id]["decision"] for id in ("cat/a.png", "cat/b.png", "cat/sub/c.png")] == ["", "drop", "relabel"]


def test_decisions_for_a_first_run(tmp_path: Path) -> None:
    dst = place(cleaned(tmp_path))
    decisions = [keep("cat/a.png"), drop("cat/b.png"), relabel("cat/sub/c.png", "dog")]
    decide(dst, decisions)
    write_decisions(tmp_path / "decisions.csv", decisions)
    other = sanitize(tmp_path / "src", tmp_path / "other", pipeline=judged(), decisions=tmp_path / "decisions.csv")
    assert repr(read_result(dst).table.to_pylist()) == repr(other.table.to_pylist())
    assert other.config == read_result(dst).config
    for decision, message in (
        (keep("cat/x.png"), r"not there: cat/x\.png"),
        (keep("dog/broken.png"), r"dog/broken\.png was set aside"),
    ):
        with pytest.raises(ElixirError, match=message):
            sanitize(tmp_path / "src", tmp_path / "third", pipeline=judged(), decisions=[decision])


def test_another_run_is_interrupted_and_goes_on_with_the_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dst = place(cleaned(tmp_path))
    decide(dst, [drop("cat/b.png")])
    with monkeypatch.context() as patch:
        patch.setattr(SinkWithBackup, "close", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            judged().run(tmp_path / "src", dst, overwrite=True)
    result = judged().run(tmp_path / "src", dst, overwrite=True, resume=True)
    assert result.counts["dropped"] == 1


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    dst = place(cleaned(tmp_path))
    one_by_one = ("--keep", "cat/a.png", "--drop", "cat/b.png", "--drop", "dog/a.png", "--relabel", "dog/b.png=cat")
    assert elixir(monkeypatch, "decide", dst, *one_by_one, "--by", "ann") == 0
    assert "2 dropped" in capsys.readouterr().out
    decided = [(row["decision"], row["decided_by"]) for row in read_result(dst).table.to_pylist()]
    assert decided[:2] == [("keep", "ann"), ("drop", "ann")]
    (tmp_path / "decisions.csv").write_text("id,decision,label\ncat/b.png,keep,\ndog/a.png,relabel,cow\n")
    assert elixir(monkeypatch, "decide", dst, "--decisions", tmp_path / "decisions.csv") == 1
    assert "decisions.csv, line 3: the dataset has no class 'cow'" in capsys.readouterr().err
    (tmp_path / "decisions.csv").write_text("id,decision,label\ncat/b.png,keep,\ndog/a.png,relabel,cat\n")
    assert elixir(monkeypatch, "decide", dst, "--decisions", tmp_path / "decisions.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["actions"] == {
        "kept": 3,
        "relabelled": 2,
        "purified": 1,
        "quarantined": 1,
    }
    for wrong in ((), ("--keep", "cat/a.png", "--decisions", "x.csv"), ("--relabel", "cat/a.png")):
        assert elixir(monkeypatch, "decide", dst, *wrong) == 1
