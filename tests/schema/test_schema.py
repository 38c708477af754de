"""The schemas, and real outputs of every outcome against them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fake_result import fake_result
from junitparser import JUnitXml
from small_world import FAST, elixir, make_shapes

from elixir import schema

PAIRS = [item for key, value in FAST.items() for item in ("--set", f"{key}={json.dumps(value)}")]


def closed(node: Any) -> Any:
    """The schema, without leave for fields that it does not describe."""
    if isinstance(node, list):
        return [closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    allowed = {"additionalProperties": False} if "properties" in node and node.get("type") == "object" else {}
    return allowed | {key: closed(value) for key, value in node.items()}


def validate(name: schema.SchemaName, text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    value = json.loads(text, parse_constant=refuse)
    jsonschema.Draft202012Validator(closed(json.loads(schema.read_schema(name)))).validate(value)
    return value


@pytest.mark.parametrize("name", ["result", "findings"])
def test_a_schema_is_one_and_is_printed(name: schema.SchemaName, monkeypatch, capsys):
    assert elixir(monkeypatch, "schema", name) == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(printed)
    version = {"result": schema.RESULT, "findings": schema.FINDINGS}[name]
    assert printed["properties"]["schema"]["const"] == version
    assert printed["$id"] == f"urn:dataset-elixir:{name}:{version}"


@pytest.mark.parametrize("change", [{"schema": 2}, {"outcome": "clean"}, {"actions": {"moved": 1}}, {"samples": -1}])
def test_another_result_is_refused(change: dict[str, Any]):
    told = fake_result(attacked=True).as_dict()
    validate("result", json.dumps(told))
    with pytest.raises(jsonschema.ValidationError):
        validate("result", json.dumps(told | change))


def few(root: Path) -> Path:
    """Too few samples to judge, one of them damaged."""
    make_shapes(root, count=8, poisoned=0)
    (root / "bar" / "damaged.png").write_bytes(b"")
    return root


def two(root: Path) -> Path:
    """Two classes without poison."""
    shutil.rmtree(make_shapes(root, count=40, poisoned=0) / "bar")
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "outcome", "fail_on", "code"),
    [
        (make_shapes, "under attack", ["attack", "change"], 3),
        (make_shapes, "under attack", ["not-judged"], 0),
        (two, "none", ["attack", "change", "not-judged"], 0),
        (few, "not judged", ["attack"], 0),
        (few, "not judged", ["not-judged"], 3),
    ],
)
def test_outputs_of_every_outcome(
    make: Callable[[Path], Path], outcome: str, fail_on: list[str], code: int, tmp_path: Path, monkeypatch, capsys
):
    src, dst, junit = make(tmp_path / "src"), tmp_path / "dst", tmp_path / "junit.xml"
    arguments = [word for each in fail_on for word in ("--fail-on", each)]
    assert elixir(monkeypatch, "sanitize", src, "-o", dst, *PAIRS, "--json", "--junit", junit, *arguments) == code
    captured = capsys.readouterr()
    result = validate("result", captured.out)
    assert result["outcome"] == outcome
    assert sum(result["actions"].values()) == result["samples"]
    findings = validate("findings", (dst / ".elixir/findings.json").read_text())
    assert [report["name"] for report in findings["labels"]] == list(result["classes"])
    suite = next(iter(JUnitXml.fromfile(str(junit))))
    assert (suite.tests, suite.failures, suite.skipped) == (
        len(result["classes"]),
        len(result["attacked"]),
        len(result["not_judged"]),
    )
    assert captured.err == (f"elixir: found what --fail-on names: {', '.join(fail_on)}\n" if code else "")
