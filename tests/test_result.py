"""What a program is handed: the cleaned set as the manifest tells it, of every kind, and where it lies."""

import json
import os
import sys
from dataclasses import asdict, astuple, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from data.conftest import image_bytes, make_tree, table
from webdataset.writer import TarWriter

from elixir.api import scan
from elixir.data.columns import Columns
from elixir.data.manifest import SHARES_PATTERN
from elixir.data.open import open_source
from elixir.detection.reports import LabelReport, LabelTest
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage
from elixir.errors import ElixirError
from elixir.pipeline import Pipeline
from elixir.result import CLEAN_LABEL, PATTERN_MEANS, AttackedLabel, Result, output_options, read_result
from elixir.stages.index import IndexStage
from elixir.stages.relabel import poisoned_action, undecided_action
from elixir.stages.write import WriteStage

NEW = image_bytes(100)


@dataclass
class Judge(ReduceStage):
    """Relabels the third readable sample as the first class, with a new image, and leaves the first one out."""

    name = "judge"
    provides = (
        *("labels", "repaired", "repair_sigma"),
        *("poison_score", "flagged", "new_label", "confidence", "action", "reason"),
    )

    def reduce(self, run: Run) -> Columns:
        count = len(run)
        decided = [("kept", "")] * count
        decided[:1] = [undecided_action(run.policy)]
        for index in range(count)[2:3]:
            decided[index] = poisoned_action(run.policy, keeps_label=bool(run.labels[index] == 0))
            run.repaired_path(index).parent.mkdir()
            run.repaired_path(index).write_bytes(NEW)
        run.facts["labels"] = []
        return {
            "poison_score": np.zeros(count, np.float32),
            "flagged": np.ones(count, bool),
            "new_label": np.zeros(count, np.int32),
            "confidence": np.full(count, np.nan, np.float32),
            "action": np.array([action for action, _ in decided], object),
            "reason": np.array([reason for _, reason in decided], object),
            "repaired": np.ones(count, bool),
            "repair_sigma": np.full(count, np.nan, np.float32),
        }


def judged() -> Pipeline:
    """A recipe without networks."""
    return Pipeline("judged", [IndexStage(), Judge(), WriteStage()])


def test_decisions_without_reports_of_the_labels_are_refused_before_the_work() -> None:
    class Silent(Judge):
        provides = tuple(name for name in Judge.provides if name != "labels")

    pipeline = Pipeline("silent", [IndexStage(), Silent(), WriteStage()])
    with pytest.raises(ElixirError, match="stage 'write' requires 'labels', which no earlier stage provides"):
        pipeline.check()


def clean(src: Any, dst: Path, **options: Any) -> Result:
    return judged().run(src, dst, **options)


def agrees(result: Result, classes: list[str]) -> datasets.Dataset:
    """Whether the dataset is what the manifest says."""
    found = result.dataset()
    assert found.features == datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=classes)})
    written = [row for row in result.table.to_pylist() if row["output"]]
    assert [classes[label] for label in found["label"]] == [row["new_class"] for row in written]
    assert [image.size[::-1] for image in found["image"]] == [(row["height"], row["width"]) for row in written]
    stored = found.cast_column("image", datasets.Image(decode=False))["image"]
    data = [image["bytes"] or Path(image["path"]).read_bytes() for image in stored]
    assert [sha256(each).hexdigest() for each in data] == [row["sha256_out"] for row in written]
    return found


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def images(*names: str) -> dict[str, bytes]:
    return {name: image_bytes(number) for number, name in enumerate(names)}


CLASSES = ["cat", "dog/2", ".."]


@pytest.mark.parametrize("to", ["folder", "hf", "parquet", "webdataset"])
def test_dataset_is_the_split_that_was_cleaned(tmp_path: Path, to: str) -> None:
    splits = datasets.DatasetDict({"train": table(9), "validation": table(7, start=50)})
    splits.save_to_disk(str(tmp_path / "splits"))
    result = clean(tmp_path / "splits", tmp_path / "validation", to=to, split="validation")
    found = agrees(result, CLASSES)
    assert found["label"][:] == [1, 0, 0, 1, 2]
    datasets.DatasetDict({"full": table(7)}).save_to_disk(str(tmp_path / "one"))
    assert len(agrees(clean(tmp_path / "one", tmp_path / "full", to=to), CLASSES)) == 5
    assert len(agrees(clean(table(7), tmp_path / "object", to=to), CLASSES)) == 5


@pytest.mark.parametrize("to", ["folder", "hf", "parquet", "webdataset"])
def test_dataset_of_parquet_files_is_one_split_in_order(tmp_path: Path, to: str) -> None:
    src = tmp_path / "src[1]"
    src.mkdir()
    for name, rows, start in (("train-0", 3, 0), ("train-1", 5, 9), ("test", 7, 50)):
        table(rows, start).to_parquet(str(src / f"{name}.parquet"))
    assert len(agrees(clean(src, tmp_path / "dst[1]", to=to), CLASSES)) == 5


@pytest.mark.parametrize("to", ["folder", "hf", "parquet", "webdataset"])
def test_dataset_of_other_columns(tmp_path: Path, to: str) -> None:
    columns = {"img": [image_bytes(number) for number in range(5)], "y": [7, 3, 7, 5, 3]}
    datasets.Dataset.from_dict(columns).to_parquet(str(tmp_path / "src.parquet"))
    found = agrees(clean(tmp_path / "src.parquet", tmp_path / "dst", to=to), ["3", "5", "7"])
    assert found["label"][:] == [0, 0, 1, 0]


@pytest.mark.parametrize("to", ["folder", "hf", "parquet", "webdataset"])
@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["cat/a.png", "cat/sub/b.png", "dog/c.png", "dog/x/d.png", "emu/e.png"], ["ape", "cat", "dog", "emu"]),
        (["cat/x/a.png", "cat/y/b.png", "dog/x/c.png", "dog/x/d.png"], ["ape", "cat", "dog"]),
        (["only/a.png", "test/b.png", "tram/c.png", "tram/d.png"], ["ape", "only", "test", "tram"]),
    ],
)
def test_dataset_of_a_folder(tmp_path: Path, names: list[str], classes: list[str], to: str) -> None:
    make_tree(tmp_path / "src", images(*names) | {"cat.txt": b"text", "ape/broken.png": b""})
    found = agrees(clean(tmp_path / "src", tmp_path / "dst", to=to), classes)
    assert len(found) == len(names) - 1


def test_dataset_of_a_list(tmp_path: Path) -> None:
    rows = "".join(f"{number}.png,{'cat' if number % 2 else 'dog'}\n" for number in range(5))
    make_tree(
        tmp_path / "src",
        images(*(f"{number}.png" for number in range(5))) | {"list.csv": b"file,label\n" + rows.encode()},
    )
    assert agrees(clean(tmp_path / "src", tmp_path / "dst"), ["cat", "dog"])["label"][:] == [0, 0, 0, 1]
    result = clean(tmp_path / "src", tmp_path / "folders", to="folder")
    assert len(open_source(f"folder:{tmp_path}/folders", **output_options(result.config)).samples) == 4


@pytest.mark.parametrize("to", ["folder", "parquet", "webdataset"])
def test_dataset_of_shards(tmp_path: Path, to: str) -> None:
    (tmp_path / "src").mkdir()
    for shard in range(2):
        with TarWriter(str(tmp_path / f"src/a\\{shard}.tar")) as writer:
            for key in range(4):
                image = image_bytes(4 * shard + key)
                label = {"y": key % 3, "cls": 7}
                writer.write({"__key__": str(key), "a.png": image, "b.png": b"", "json": label, "cls": key})
    options = {"image": "a.png", "label": "json:y"}
    result = clean(tmp_path / "src", tmp_path / "dst", to=to, **options)
    assert agrees(result, ["0", "1", "2"])["label"][:] == [1, 0, 0, 0, 1, 2, 0]
    assert (result.config["kind"], result.config["label"]) == ("webdataset", "json:y")
    source = open_source(tmp_path / "dst", **output_options(result.config))
    assert sorted(sample.label for sample in source.samples) == [0, 0, 0, 0, 1, 1, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_dataset_with_names_that_are_not_utf8(tmp_path: Path) -> None:
    names = [os.fsdecode(b"caf\xe9/caf\xe9.png"), "caf\\e/a.png", "cat/b.png"]
    make_tree(tmp_path / "src", images(*names))
    agrees(clean(tmp_path / "src", tmp_path / "dst"), [r"caf\\e", r"caf\xe9", "cat"])


def test_what_could_not_be_copied_is_told(tmp_path: Path) -> None:
    src = make_tree(tmp_path / "src", images("cat/a.png", "cat/b.png", "dog/c.png", "dog/d.png"))
    os.mkfifo(src / "cat/<b>.png")
    result = clean(src, tmp_path / "dst")
    told = "1 files could not be read and so not copied: cat/<b>.png"
    assert result.unreadable_files == result.as_dict()["unreadable_files"] == ["cat/<b>.png"]
    assert f"\n{told}\n" in result.summary()
    assert f"\n{told}\n" in (tmp_path / "dst/.elixir/summary.txt").read_text()
    page = (tmp_path / "dst/.elixir/report.html").read_text()
    assert told.replace("<b>", "&lt;b&gt;") in page
    row = next(row for row in result.table.to_pylist() if row["id"] == "cat/<b>.png")
    assert (row["action"], row["original"]) == ("quarantined", "")
    for number in range(5):
        os.mkfifo(src / f"dog/\x1b{number}.png")
    summary = clean(src, tmp_path / "more").summary()
    assert r"6 files could not be read and so not copied: cat/<b>.png, dog/\x1b0.png, dog/\x1b1.png" in summary
    assert r"dog/\x1b3.png, ... (all in .elixir/findings.json)" in summary
    assert "\x1b" not in summary
    whole = clean(make_tree(tmp_path / "whole", images("cat/a.png", "cat/b.png", "dog/c.png")), tmp_path / "all")
    assert whole.unreadable_files == []
    assert "could not be read" not in whole.summary() + (tmp_path / "all/.elixir/report.html").read_text()


def test_what_is_known_about_every_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = LabelTest("spectral_split", "direct", 0, 0.0, False)
    joint = LabelTest("joint", "direct", 12, 0.31239, True, {"group_transfer": 0.90001})
    held_out = LabelTest("seed", "holdout", 3, 0.25, False, {"other_label": 0.5})
    reports = [LabelReport(0, "cat", 2, (split, held_out)), LabelReport(1, "dog", 2, (joint,), joint)]
    judge = Judge.reduce

    def detect(self: Judge, run: Run) -> Columns:
        columns = judge(self, run)
        run.facts["labels"] = [asdict(report) for report in reports]
        effect = {"residual": 0.5, "difference": 0.25}
        run.facts["triggers"] = {"1": {"clean_label": True, "kept": "residual", "effect": effect}}
        return columns

    monkeypatch.setattr(Judge, "reduce", detect)
    make_tree(tmp_path / "in", images("cat/a.png", "cat/b.png", "dog/c.png", "dog/d.png"))
    result = clean(tmp_path / "in", tmp_path / "out")
    assert result.labels == reports
    assert [report.direct_score for report in result.labels] == [0.0, 0.3124]
    evidence = {"group_transfer": 0.9, "residual_effect": 0.5, "difference_effect": 0.25}
    assert result.attacked == [AttackedLabel(1, "dog", 2, 0.3124, "joint", "direct", evidence, clean_label=True)]
    assert result.as_dict()["attacked"] == [asdict(label) for label in result.attacked]
    assert f"\nunder attack: dog (2 flagged, score 0.312, joint); {CLEAN_LABEL}\n" in result.summary()
    many = [replace(result.attacked[0], name=f"class {number}", clean_label=False) for number in range(12)]
    told = replace(result, attacked=many).findings()
    assert told[9:11] == [
        "under attack: class 9 (2 flagged, score 0.312, joint)",
        "... and 2 more labels under attack, see the report",
    ]
    rows = pq.read_table(tmp_path / "out/.elixir/labels.parquet").to_pylist()
    assert [(row["label"], row["class"], row["attacked"], row["samples"]) for row in rows] == [
        (0, "cat", False, 2),
        (0, "cat", False, 2),
        (1, "dog", True, 2),
    ]
    told = ("detector", "test", "group_size", "score", "passed")
    for row, test in zip(rows, (split, held_out, joint), strict=True):
        assert tuple(row[name] for name in told) == astuple(test)[:5]
        assert json.loads(row["evidence"]) == test.evidence
    assert [row["decides"] for row in rows] == [False, False, True]


def found(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *not_judged: str,
    attacked: bool = False,
    false_alarms: float | None = None,
    pattern: tuple[int, ...] = (),
) -> Result:
    """The result of a scan of two cats, two dogs and an owl, whose labels could not be judged for these reasons.

    Some of the dogs may share a pattern.
    """
    test = LabelTest("joint", "direct", 2, 0.5, True)
    decided_by = [test if attacked else None, None, None]
    reports = [
        asdict(
            LabelReport(
                label,
                name,
                count,
                (test,),
                decided_by[label],
                not_judged[label],
                pattern * (label == 1),
                false_alarms=false_alarms,
            )
        )
        for label, (name, count) in enumerate((("cat", 2), ("dog", 2), ("owl\x1b", 1)))
    ]
    judge = Judge.reduce

    def detect(self: Judge, run: Run) -> Columns:
        columns = judge(self, run)
        run.facts["labels"] = reports
        return columns | {
            "action": np.full(5, "kept", object),
            "reason": np.array(["", "", "looked at", "", ""], object),
        }

    monkeypatch.setattr(Judge, "reduce", detect)
    make_tree(folder / "in", images("cat/a.png", "cat/b.png", "dog/c.png", "dog/d.png", "owl\x1b/e.png"))
    return scan(folder / "in", folder / "out", pipeline=judged())


def test_classes_are_told_on_standard_error_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    src = make_tree(tmp_path / "in", images("[red]cat/a.png", "dog/b.png", "dog/c.png"))
    clean(src, tmp_path / "quiet", quiet=True)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(IndexStage, "indices", lambda self, run: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        clean(src, tmp_path / "out", quiet=False)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("2 classes: [red]cat, dog (1 to 2 samples each)\n")


def test_none_under_attack_is_said_only_if_every_label_was_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = found(tmp_path, monkeypatch, "", "", "")
    assert (result.outcome, result.not_judged) == ("none", [])
    assert result.summary().splitlines()[1:3] == [
        r"3 classes: cat, dog, owl\x1b (1 to 2 samples each)",
        "no label under attack",
    ]
    assert result.as_dict()["outcome"] == "none"
    assert result.as_dict()["not_judged"] == {}
    assert result.as_dict()["classes"] == {"cat": 2, "dog": 2, "owl\x1b": 1}


def test_what_was_not_judged_is_said_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = found(tmp_path, monkeypatch, "", "unknown", "few")
    assert result.outcome == "not judged"
    lines = result.summary().splitlines()
    assert lines[2:5] == [
        "no label under attack among the 1 that could be judged",
        "not judged: dog (2 samples): unknown",
        r"not judged: owl\x1b (1 samples): few",
    ]
    assert (tmp_path / "out/.elixir/summary.txt").read_text().splitlines()[:5] == lines[:5]
    told = json.loads(json.dumps(result.as_dict()))
    assert (told["outcome"], told["not_judged"]) == ("not judged", {"dog": "unknown", "owl\x1b": "few"})
    rows = pq.read_table(tmp_path / "out/.elixir/labels.parquet").to_pylist()
    assert [row["not_judged"] for row in rows] == ["", "unknown", "few"]
    assert result.table["reason"].to_pylist() == ["", "", "looked at", "not judged: unknown", "not judged: few"]
    assert result.counts == {"kept": 5}
    page = (tmp_path / "out/.elixir/report.html").read_text()
    for line in lines[1:5]:
        assert f"<p>{line}.</p>" in page
    assert "<td>nothing</td>" in page
    assert "<td>not judged: few</td>" in page


def test_a_set_of_which_nothing_was_judged_is_not_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = found(tmp_path, monkeypatch, "blind", "blind", "blind")
    assert result.outcome == "not judged"
    assert "no label under attack" not in result.summary()
    said, why = result.summary().splitlines()[2:4]
    assert said.startswith("NOT JUDGED: this says nothing about whether the set is poisoned; check that the classes")
    assert why == r"not judged: cat (2 samples), dog (2 samples), owl\x1b (1 samples): blind"


def test_an_attack_is_said_beside_what_was_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = found(tmp_path, monkeypatch, "", "", "few", attacked=True)
    assert result.outcome == "under attack"
    said, why = result.summary().splitlines()[2:4]
    assert said.startswith("under attack: cat (")
    assert why == r"not judged: owl\x1b (1 samples): few"
    assert "no label under attack" not in (tmp_path / "out/.elixir/report.html").read_text()


def test_how_rare_a_finding_is_in_clean_sets_is_said_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = found(tmp_path, monkeypatch, "", "", "", attacked=True, false_alarms=0.0021)
    line = "under attack: cat (2 flagged, score 0.500, joint; 1 in 476 clean sets would show as much)"
    assert line in result.summary().splitlines()
    assert "; 1 in 476 clean sets would show as much.</p>" in (tmp_path / "out/.elixir/report.html").read_text()
    assert result.as_dict()["attacked"][0]["false_alarms"] == 0.0021
    rows = pq.read_table(tmp_path / "out/.elixir/labels.parquet").to_pylist()
    assert [row["false_alarms"] for row in rows] == [0.0021] * 3
    assert read_result(tmp_path / "out").attacked == result.attacked


@pytest.mark.parametrize(("false_alarms", "told"), [(0.1, True), (0.11, False)])
def test_a_label_that_is_nearly_under_attack_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, false_alarms: float, told: bool
) -> None:
    result = found(tmp_path, monkeypatch, "", "", "few", false_alarms=false_alarms)
    rare = "1 in 10 clean sets would show as much"
    line = f"nearly under attack: cat ({rare}), dog ({rare}): kept, as the alarm rate is 0.01"
    assert (line in result.summary().splitlines()) == told
    assert result.as_dict()["nearly"] == ({"cat": 0.1, "dog": 0.1} if told else {})
    assert result.outcome == "not judged"
    assert result.counts == {"kept": 5}


def test_a_pattern_is_told_and_its_samples_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = found(tmp_path, monkeypatch, "", "", "few", pattern=(3,))
    assert result.outcome == "not judged"
    assert f"some share a pattern: dog (1 of 2 samples): {PATTERN_MEANS}" in result.summary().splitlines()
    assert result.as_dict()["patterns"] == {"dog": 1}
    assert result.table["reason"].to_pylist() == ["", "", "looked at", SHARES_PATTERN, "not judged: few"]
    assert result.counts == {"kept": 5}
    assert [report.name for report in read_result(tmp_path / "out").patterns] == ["dog"]
    page = (tmp_path / "out/.elixir/report.html").read_text()
    assert "<td>a pattern in 1 of 2 samples</td>" in page
    assert SHARES_PATTERN in page


def test_findings_of_before_labels_could_be_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found(tmp_path, monkeypatch, "", "", "")
    path = tmp_path / "out/.elixir/findings.json"
    findings = json.loads(path.read_text())
    for report in findings["labels"]:
        del report["not_judged"]
    path.write_text(json.dumps(findings))
    result = read_result(tmp_path / "out")
    assert (result.outcome, [report.name for report in result.labels]) == ("none", ["cat", "dog", "owl\x1b"])


def test_without_reports_nothing_is_cleared(tmp_path: Path) -> None:
    result = clean(table(), tmp_path / "dst")
    assert result.outcome == "not judged"
    assert "NOT JUDGED" in result.summary()


def test_dataset_that_was_changed(tmp_path: Path) -> None:
    result = clean(table(), tmp_path / "dst")
    table(3).save_to_disk(str(tmp_path / "dst"))
    with pytest.raises(ElixirError, match="holds 3 images, not 5"):
        result.dataset()


def test_dataset_that_was_never_written(tmp_path: Path) -> None:
    with pytest.raises(ElixirError, match="a scan never does"):
        scan(table(), tmp_path / "findings", pipeline=judged()).dataset()
    with pytest.raises(ElixirError, match="a scan never does"):
        scan(table(), pipeline=judged()).dataset()
    with pytest.raises(ElixirError, match="has written no images"):
        clean(table(2), tmp_path / "dst").dataset()


def test_scan_without_a_place_has_none(tmp_path: Path) -> None:
    result = scan(table(), pipeline=judged())
    assert result.path is None
    assert json.loads(json.dumps(result.as_dict()))["path"] is None
    with pytest.raises(ElixirError, match="this scan has kept no files"):
        _ = result.model
    assert scan(table(), tmp_path / "findings", pipeline=judged()).path == tmp_path / "findings"


def test_what_appears_at_the_destination_meanwhile_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(tmp_path / "in", images("cat/a.png", "cat/b.png", "dog/c.png", "dog/d.png"))
    judge = Judge.reduce

    def meanwhile(self: Judge, run: Run) -> Columns:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "precious.txt").write_text("mine")
        return judge(self, run)

    monkeypatch.setattr(Judge, "reduce", meanwhile)
    with pytest.raises(ElixirError, match="out has been filled while the run was at work; move it away and"):
        clean(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "precious.txt").read_text() == "mine"
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    monkeypatch.setattr(Judge, "reduce", lambda self, run: pytest.fail("the run is done already"))
    assert clean(tmp_path / "in", tmp_path / "out", resume=True).counts == {
        "kept": 2,
        "quarantined": 1,
        "relabelled": 1,
    }
