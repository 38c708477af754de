"""Label Studio: what its own package says of the tasks, and the way there and back.

`label-studio-sdk` is the parser and validator that Label Studio itself runs; where it is not installed, the documented
form is checked alone.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest

from elixir.data.decision_files import read_decisions
from elixir.data.decisions import HumanDecision
from elixir.data.exchange.label_studio import read_label_studio, write_label_studio
from elixir.data.exchange.samples import Exported
from elixir.errors import ElixirError

CLASSES = ["stop", "a\nb", "a\\nb", '</Choices> & "x"', "(leave it out)", " stop", "=cmd|'!A1", "é😀", "$image"]
SAMPLES = [
    Exported(row, f"{name}/x\n'{row}.png", name, CLASSES[(row + 1) % len(CLASSES)], "relabelled", "poisoned", 1.0, 0.9)
    for row, name in enumerate(CLASSES)
] + [
    Exported(20, "=1+1", "stop", "", "quarantined", "poisoned, label uncertain", 0.5, 0.25),
    Exported(21, "kept", "stop", "stop", "kept", "", 0.002, None),
    Exported(22, "pure", "stop", "stop", "purified", "poisoned, its label is right", 1.0, 0.9),
]
PICTURES = {sample.row: f"{sample.row:08d}.png" for sample in SAMPLES}


@pytest.fixture
def exported(tmp_path: Path) -> tuple[list[dict[str, Any]], list[str], str]:
    """The tasks, the choices of a person, and the configuration."""
    write_label_studio(tmp_path, "to-label", SAMPLES, PICTURES, CLASSES)
    config = (tmp_path / "labels.xml").read_text()
    choices = [choice.attrib["value"] for choice in ElementTree.fromstring(config).iter("Choice")]
    return json.loads((tmp_path / "tasks.json").read_text()), choices, config


def annotation(choice: str | None, **facts: Any) -> dict[str, Any]:
    """As Label Studio exports it."""
    result = {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [choice]}, "id": "a"}
    by = {"id": 7, "email": "ann@example.org", "first_name": "Ann"}
    base = {"id": 1, "completed_by": by, "was_cancelled": False, "ground_truth": False, "lead_time": 2.5}
    times = {"created_at": "2026-01-02T03:04:05.000006Z", "updated_at": "2026-01-02T03:05:00.000000Z"}
    return {**base, **times, "result": [result] if choice else [], **facts}


def answered(tasks: list[dict[str, Any]], path: Path, answers: dict[str, list[dict[str, Any]]]) -> Path:
    kept = [
        {"id": number, **task, "annotations": answers.get(task["data"]["id"], [])} for number, task in enumerate(tasks)
    ]
    path.write_text(json.dumps(kept))
    return path


def test_every_class_can_be_chosen(exported, tmp_path: Path) -> None:
    tasks, choices, _ = exported
    assert len(set(choices)) == len(CLASSES) + 1
    for choice, name in zip(choices, CLASSES, strict=False):
        path = answered(tasks, tmp_path / "export.json", {"=1+1": [annotation(choice)]})
        (decision,) = read_decisions(path, CLASSES)
        expected = ("keep", "") if name == "stop" else ("relabel", name)
        assert (decision.id, decision.decision, decision.label) == ("=1+1", *expected)
        assert (decision.by, decision.at) == ("ann@example.org", "2026-01-02T03:05:00.000000Z")
    path = answered(tasks, tmp_path / "export.json", {"=1+1": [annotation(choices[-1], completed_by=7)]})
    assert read_decisions(path, CLASSES) == [
        HumanDecision("=1+1", "drop", by="7", at="2026-01-02T03:05:00.000000Z"),
    ]


def test_tasks_have_what_a_person_and_the_way_back_need(exported) -> None:
    tasks, choices, _ = exported
    assert [task["data"]["id"] for task in tasks] == [sample.id for sample in SAMPLES]
    first, uncertain = tasks[0], next(task for task in tasks if task["data"]["id"] == "=1+1")
    assert parse_qs(urlsplit(first["data"]["image"]).query) == {"d": ["to-label/images/00000000.png"]}
    assert first["data"]["about"] == "given: stop; relabelled, poisoned"
    (prediction,) = first["predictions"]
    assert prediction["score"] == 0.9
    assert prediction["result"][0]["value"] == {"choices": [choices[1]]}
    assert "predictions" not in uncertain


def test_the_package_of_label_studio_takes_them(exported) -> None:
    interface = pytest.importorskip("label_studio_sdk.label_interface", reason="pip install label-studio-sdk")
    tasks, choices, config = exported
    label_studio = interface.LabelInterface(config)
    label_studio.validate()
    assert list(label_studio.get_control("label").labels) == choices
    for task in tasks:
        assert label_studio.validate_task({"data": task["data"]}, validate_regions_only=False)
        for prediction in task.get("predictions", []):
            assert label_studio.validate_prediction(prediction, return_errors=True) == []
    for choice in choices:
        assert label_studio.validate_annotation(annotation(choice))
    assert not label_studio.validate_annotation(annotation("no such class"))


@pytest.mark.parametrize(
    ("id", "label", "expected"),
    [
        ("kept", "stop", ("keep", "")),
        ("kept", "é😀", ("relabel", "é😀")),
        ("pure", "stop", ("relabel", "stop")),  # the picture without the trigger stays
        ("=1+1", "stop", ("keep", "")),
        (SAMPLES[7].id, "é😀", ("keep", "")),
        (SAMPLES[7].id, "$image", ("relabel", "$image")),
    ],
)
def test_what_a_choice_means(exported, tmp_path: Path, id: str, label: str, expected) -> None:
    path = answered(exported[0], tmp_path / "export.JSON", {id: [annotation(label)]})
    (decision,) = read_decisions(path, CLASSES)
    assert (decision.id, decision.decision, decision.label) == (id, *expected)


def test_skipped_empty_and_several_annotations(exported, tmp_path: Path) -> None:
    tasks, path = exported[0], tmp_path / "export.json"
    skipped, empty = annotation("é😀", was_cancelled=True), annotation(None)
    assert read_label_studio(answered(tasks, path, {"kept": [skipped, empty]}), CLASSES) == []
    late = annotation("stop", updated_at="2026-02-01T00:00:00Z", completed_by={"id": 8, "email": "bob@example.org"})
    (agreed,) = read_label_studio(answered(tasks, path, {"kept": [late, annotation("stop"), skipped]}), CLASSES)
    assert agreed.by == "bob@example.org"
    with pytest.raises(ElixirError, match="'kept': annotations disagree; mark the right one as ground truth"):
        read_label_studio(answered(tasks, path, {"kept": [late, annotation("é😀")]}), CLASSES)
    truth = annotation("é😀", ground_truth=True)
    (right,) = read_label_studio(answered(tasks, path, {"kept": [late, truth]}), CLASSES)
    assert (right.decision, right.label) == ("relabel", "é😀")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "holds no list of tasks"),
        ("[", "cannot be read"),
        ('[{"image": "x", "choice": "stop", "id": 1}]', "task 0 of .* is of another form"),  # JSON-MIN
        ('[{"data": {"id": "x"}, "annotations": [{"result": [{"from_name": "label"}]}]}]', "of another form"),
        ("[1]", "of another form"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "export.json").write_text(content)
    with pytest.raises(ElixirError, match=f"{message}.*JSON export of a project"):
        read_decisions(tmp_path / "export.json", CLASSES)


def test_a_class_that_is_not_there_and_a_sample_twice(exported, tmp_path: Path) -> None:
    tasks, path = exported[0], tmp_path / "export.json"
    with pytest.raises(ElixirError, match="task of 'kept': the dataset has no class 'stp'; did you mean 'stop'"):
        read_label_studio(answered(tasks, path, {"kept": [annotation("stp")]}), CLASSES)
    with pytest.raises(ElixirError, match="decides twice about 'kept'"):
        read_label_studio(answered(tasks * 2, path, {"kept": [annotation("stop")]}), CLASSES)
