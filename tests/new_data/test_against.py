"""New images before a finished run of the small world: triggers, labels, and what is said of those not judged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_world import FAST, elixir, make_shapes, place

from elixir.api import sanitize, scan_against
from elixir.data.columns import read_columns, write_columns
from elixir.data.manifest import SCHEMA, read_manifest
from elixir.errors import ElixirError
from elixir.models.weights import write_weights
from elixir.new_data.outcome import NO_LABELS, NewData

pytestmark = pytest.mark.slow
PATCHED = 12


@pytest.fixture(scope="module")
def known(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has found an attack on the last class."""
    result = sanitize(shapes, tmp_path_factory.mktemp("known") / "clean", settings=FAST)
    assert [label.name for label in result.attacked] == ["spot"]
    return place(result)


@pytest.fixture
def copied(known: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(known, tmp_path / "known"))


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """Images of the same kind that the run has not seen; the last ones of the last class are patched."""
    return make_shapes(tmp_path / "new", 40, PATCHED, seed=7)


def patched(found: NewData) -> tuple[int, int]:
    """How many patched images and how many others carry the trigger, as it is said."""
    ids = [id for id, reason in found.flagged.items() if "carries the trigger of spot" in reason]
    right = sum(id >= "spot/040.png" for id in ids)
    return right, len(ids) - right


def test_a_known_trigger_is_found_and_what_lies_below_it_is_named(known: Path, new: Path):
    found = scan_against(new, known)
    assert patched(found)[0] == PATCHED
    assert patched(found)[1] <= 2
    assert found.outcome == "known trigger"
    rows = {row["id"]: row for row in found.table.to_pylist()}
    for number in range(PATCHED):
        row = rows[f"spot/{40 + number:03d}.png"]
        assert row["flagged"]
        assert row["new_class"] == ("bar", "post")[number % 2]
        assert row["confidence"] > 0.5
        assert "label denied" in row["reason"]
    (trigger,) = found.triggers
    assert (trigger.name, trigger.known, trigger.alarms.judged) == ("spot", 24, 132)
    assert trigger.known_found >= 22
    assert trigger.alarms.expected == pytest.approx(132 / 181)  # 180 samples of the run were never flagged
    assert found.labels.expected == pytest.approx(132 / 61)  # 60 of each label


def test_clean_images_are_left_alone(known: Path, tmp_path: Path):
    found = scan_against(make_shapes(tmp_path / "new", 40, 0, seed=8), known)
    assert found.outcome == "nothing known"
    assert len(found.flagged) <= 3
    assert "whether there is a new attack" in found.summary()


def test_wrong_labels_are_denied_without_a_trigger(known: Path, tmp_path: Path):
    new = make_shapes(tmp_path / "new", 40, 0, seed=8)
    moved = [shutil.move(new / "bar" / f"{i:03d}.png", new / "post" / f"wrong{i}.png") for i in range(10)]
    found = scan_against(new, known)
    denied = [id for id, reason in found.flagged.items() if id.startswith("post/wrong") and reason.endswith("see bar")]
    assert len(denied) >= len(moved) - 1
    assert found.outcome == "labels denied"


def test_images_without_labels_are_searched_for_triggers(known: Path, new: Path):
    (new / "alone.png").write_bytes((new / "spot" / "040.png").read_bytes())
    found = scan_against(new, known, labelled=False)
    assert "alone.png" in found.flagged
    assert patched(found)[0] == PATCHED
    assert found.labels.judged == 0
    assert found.notes == [NO_LABELS]
    assert "labels: none was judged" in found.summary()


def test_of_an_unknown_class_only_the_label_is_not_judged(known: Path, new: Path):
    name = "\x1b[31m<b>unknown'"
    (new / "spot").rename(new / name)
    found = scan_against(new, known)
    assert {id.partition("/")[2] for id in found.flagged} >= {f"{40 + number:03d}.png" for number in range(PATCHED)}
    assert not any("label denied" in reason for id, reason in found.flagged.items() if id.startswith(name))
    assert found.not_judged == {
        "its class is not one of that run": 52 - sum(id.startswith(name) for id in found.flagged)
    }
    assert {row["class"] for row in found.table.to_pylist()} == {"bar", "post", name}
    assert "\x1b" not in found.summary()
    assert found.labels.judged == 80


def test_what_cannot_be_read_is_said(known: Path, new: Path):
    (new / "bar" / "000.png").write_bytes(b"no image")
    found = scan_against(new, known)
    row = next(row for row in found.table.to_pylist() if row["id"] == "bar/000.png")
    assert row["reason"] == "not judged: not an image of a supported format"
    assert (row["height"], row["flagged"]) == (0, False)
    assert found.triggers[0].alarms.judged == found.labels.judged == 131


def test_labels_that_the_run_did_not_judge_are_not_judged(copied: Path, new: Path):
    file = copied / ".elixir" / "findings.json"
    findings = json.loads(file.read_text())
    findings["labels"][0]["not_judged"] = "models know this label too little"
    file.write_text(json.dumps(findings))
    found = scan_against(new, copied)
    assert found.not_judged["models know this label too little"] >= 38
    assert found.labels.judged == 92


def test_a_label_is_not_denied_by_a_handful_of_samples(copied: Path, new: Path):
    file = copied / ".elixir" / "models" / "calibration.parquet"
    columns = read_columns(file, "")
    columns["benign"][(columns["label"] == 0).nonzero()[0][18:]] = False
    write_columns(file, columns)
    found = scan_against(new, copied)
    assert found.not_judged["that run has fewer than 19 clean samples of its class"] >= 38
    assert found.labels.judged == 92


def test_where_nothing_can_be_read_nothing_is_said(known: Path, tmp_path: Path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "broken.png").write_bytes(b"no image")
    found = scan_against(tmp_path / "new", known, labelled=False)
    assert found.triggers[0].alarms.judged == 0
    assert found.outcome == "nothing known"
    assert "trigger of spot: in 0 of 0 images" in found.summary()


def test_without_a_known_trigger_labels_are_all_that_is_judged(copied: Path, new: Path):
    learned = copied / ".elixir" / "models"
    write_weights(learned / "triggers.safetensors", {})
    columns = read_columns(learned / "calibration.parquet", "")
    del columns["trigger_drop_2"]
    write_columns(learned / "calibration.parquet", columns)
    (learned / "reference.safetensors").unlink()  # not needed
    found = scan_against(new, copied)
    assert found.triggers == []
    assert found.outcome == "labels denied"
    assert "none is known, as no label was under attack" in found.summary()
    with pytest.raises(ElixirError, match="nothing can be judged"):
        scan_against(new, copied, labelled=False)


def lacking(name: str) -> Callable[[Path], object]:
    return lambda known: (known / ".elixir" / "models" / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lacking("calibration.parquet"),
            "calibration.parquet is missing.*version .* recipe dataelixir.*scan its",
        ),
        (lacking("triggers.safetensors"), "triggers.safetensors is missing"),
        (lacking("crossfit-1.safetensors"), "crossfit-1.safetensors is missing"),
        (lacking("reference.safetensors"), "reference.safetensors is missing"),
        (lambda known: shutil.rmtree(known / ".elixir"), "give what `elixir sanitize` has written"),
        (
            lambda known: write_columns(known / ".elixir" / "models" / "calibration.parquet", {}),
            "cannot be understood.*scan its input again",
        ),
    ],
)
def test_a_run_that_has_not_left_enough_is_refused(
    copied: Path, new: Path, spoil: Callable[[Path], object], message: str
):
    spoil(copied)
    with pytest.raises(ElixirError, match=message):
        scan_against(new, copied)


def test_other_classes_altogether_are_refused(known: Path, new: Path):
    for name in ("bar", "post", "spot"):
        (new / name).rename(new / f"{name}s")
    with pytest.raises(ElixirError, match=r"none of its classes \(bars, posts, spots\).*--unlabelled"):
        scan_against(new, known)


def test_findings_are_kept_in_a_folder(known: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "found"
    assert elixir(monkeypatch, "scan", new, "--against", known, "-o", out, "--quiet") == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    table = read_manifest(out / ".elixir" / "manifest.parquet")
    assert table.column_names == SCHEMA.names
    assert set(table["action"].to_pylist()) == {"none"}
    again = scan_against(new, known)
    assert str(table.to_pylist()) == str(again.table.to_pylist())  # NaN is not equal to itself
    findings = json.loads((out / ".elixir" / "findings.json").read_text())
    assert findings["flagged"] == again.flagged
    summary = (out / ".elixir" / "summary.txt").read_text()
    assert summary.splitlines()[:-2] == again.summary().splitlines()[:-2]
    assert f"... and {len(again.flagged) - 10} more, listed in .elixir/manifest.parquet" in summary
    assert elixir(monkeypatch, "scan", new, "--against", known, "-o", out) == 1
    assert elixir(monkeypatch, "scan", new, "--against", known, "-o", out, "--overwrite", "--quiet") == 0


def test_findings_are_not_written_into_the_run(known: Path, new: Path):
    for out in (known, known / "found", known.parent):
        with pytest.raises(ElixirError, match="must not lie in each other"):
            scan_against(new, known, out, overwrite=True)


def test_the_command_prints_json(
    known: Path, new: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    assert elixir(monkeypatch, "scan", new, "--against", known, "--json", "--false-alarms", ".05") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["outcome"] == "known trigger"
    assert printed["triggers"][0]["alarms"]["expected"] == pytest.approx(132 * 0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--against", "x", "--set", "probe.sigma=.1"], "--set is about a new run"),
        (["--against", "x", "--pipeline", "impure"], "--pipeline is about a new run"),
        (["--against", "x", "--shard-size", "1MB"], "--shard-size is about a new run"),
        (["--unlabelled"], "name the finished run (--against)"),
        (["--false-alarms", ".1"], "name the finished run (--against)"),
        (["--against", "{known}", "--false-alarms", "0"], "must lie between 0 and 1"),
        (["--against", "nowhere"], "give what `elixir sanitize` has written"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    known: Path,
    new: Path,
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    assert elixir(monkeypatch, "scan", new, *(option.format(known=known) for option in options)) == 1
    assert message in capsys.readouterr().err
