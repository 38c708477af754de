"""What runs of Elixir 0.2 have left reads like one of today."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elixir.data.manifest import (
    RENAMED,
    SCHEMA,
    class_names,
    current_findings,
    current_names,
    read_manifest,
    some_rows,
)
from elixir.detection.reports import LabelReport, LabelTest
from elixir.engine.cost import Cost
from elixir.models.classifier import SmallResNet, save_classifier
from elixir.result import AttackedLabel, read_result

V02 = Path(__file__).parent / "fixtures" / "v02"


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_facts_of_0_2_have_the_names_of_today(kind: str) -> None:
    run = V02 / kind / ".elixir"
    lost = ["gone.txt"] if kind == "folder" else []
    for name in ("findings", "restore"):
        facts = current_names(json.loads((run / f"{name}.json").read_text()))
        assert facts["unreadable_files"] == lost
        assert not facts.keys() & RENAMED.keys()
    manifest = read_manifest(run / "manifest.parquet")
    assert manifest.column_names == SCHEMA.names
    assert manifest.num_rows == 12
    assert class_names(manifest) == ["stop", "yield"]


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_the_result_of_a_run_of_0_2_is_read(kind: str) -> None:
    result = read_result(V02 / kind)
    decisive = LabelTest("joint", "direct", 3, 0.97, True, {"trigger_transfer": 0.9})
    weak = LabelTest("unknown", "direct", 0, 0.02, False)
    assert result.labels == [
        LabelReport(0, "stop", 6, (decisive,), decisive),
        LabelReport(1, "yield", 5, (weak,)),  # one of six cannot be read
    ]
    assert [report.direct_score for report in result.labels] == [0.97, 0.02]
    assert result.attacked == [AttackedLabel(0, "stop", 3, 0.97, "joint", "direct", {"trigger_transfer": 0.9})]
    assert result.costs == {name: Cost(1.5, 0.5, 12) for name in ("index", "probe", "emit")}
    assert result.nfe_per_sample == 3
    assert result.unreadable_files == (["gone.txt"] if kind == "folder" else [])
    assert "under attack: stop (3 flagged, score 0.970, joint)" in result.summary()
    assert len(result.dataset()) == 9


@pytest.mark.parametrize(
    ("witness", "evidence", "detector", "test", "named"),
    [
        ("trigger", {"contradiction": 0.5}, "joint", "direct", {"label_disagreement": 0.5}),
        ("cause", {"common_transplant": 0.5}, "trigger_transfer", "direct", {"group_transfer": 0.5}),
        (
            "contradiction",
            {"denied": 0.5, "share": 0.1},
            "label_disagreement",
            "direct",
            {"disagrees": 0.5, "share": 0.1},
        ),
        ("pattern", {"difference_transplant": 0.5}, "spectral_split", "direct", {"difference_transfer": 0.5}),
        ("pattern", {"sure_of_another": 0.5}, "spectral_split", "holdout", {"other_label": 0.5}),
        ("retrial", {"sure_of_another": 0.5}, "expanded", "holdout", {"other_label": 0.5}),
        ("core", {"sure_of_another": 0.5}, "seed", "holdout", {"other_label": 0.5}),
        ("drop", {"sure_of_another": 0.5}, "noise_sensitivity", "holdout", {"other_label": 0.5}),
        ("discrepancy", {"deviations": 4.0}, "discrepancy", "discrepancy", {"deviations": 4.0}),
    ],
)
def test_detectors_of_0_2_have_the_names_of_today(
    tmp_path: Path, witness: str, evidence: dict[str, float], detector: str, test: str, named: dict[str, float]
) -> None:
    shutil.copytree(V02 / "folder", tmp_path / "run")
    file = tmp_path / "run/.elixir/findings.json"
    findings: dict[str, Any] = json.loads(file.read_text())
    findings["scores"] = {"stop": 0.2}
    findings["targets"][0] |= {"witness": witness, "evidence": evidence | {"residual_cause": 0.7}, "clean_label": True}
    file.write_text(json.dumps(findings))
    result = read_result(tmp_path / "run")
    stop, other = result.labels
    assert stop.decided_by == LabelTest(detector, test, 3, 0.97, True, named)  # pyright: ignore[reportArgumentType]
    assert stop.direct_score == (0.97 if test == "direct" else 0.2)
    assert (other.tests, other.decided_by) == ((), None)
    (attacked,) = result.attacked
    assert (attacked.detector, attacked.test, attacked.clean_label) == (detector, test, True)
    assert attacked.evidence == named | {"residual_effect": 0.7}


def test_the_clean_model_of_a_run_of_0_2_is_read(tmp_path: Path) -> None:
    shutil.copytree(V02 / "folder", tmp_path / "run")
    (tmp_path / "run/.elixir/models").mkdir()
    save_classifier(SmallResNet(2), tmp_path / "run/.elixir/models/benign.safetensors", ["stop", "yield"])
    assert isinstance(read_result(tmp_path / "run").model, SmallResNet)


def test_findings_of_today_stay_as_they_are() -> None:
    manifest = read_manifest(V02 / "folder/.elixir/manifest.parquet")
    findings = {"labels": [], "triggers": {"0": {"clean_label": False}}, "accuracy": {"raw": 0.5}}
    assert current_findings(findings, manifest) == findings


def test_some_rows_come_in_the_order_that_is_asked_for():
    chunked = pa.chunked_array([[0, 10, 20], [], [30, 40], [50]])
    table = pa.table({"value": chunked})
    assert some_rows(table, np.array([5, 0, 3, 1]))["value"].to_pylist() == [50, 0, 30, 10]
    assert some_rows(table, np.empty(0, np.int64)).num_rows == 0
