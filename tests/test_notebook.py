"""The walkthrough: what costs no training is executed, the rest has to import what there is."""

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "walkthrough.ipynb"


def code() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_it_reads_the_shipped_signs_and_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(NOTEBOOK.parent)
    cells, seen = code(), dict[str, Any]()
    exec(cells[0], seen)
    assert len(seen["signs"].samples) == 1700
    exec(cells[-1], seen)
    told = capsys.readouterr().out
    for folder in ("cifar", "gtsrb", "gtsrb-all-to-all", "gtsrb-clean-label"):
        assert f"{folder}\n" in told
    assert "badnets-10%              dataelixir   TPR 1.0000" in told


def test_every_cell_can_be_compiled_and_finds_its_imports() -> None:
    for cell in code():
        compile(cell, str(NOTEBOOK), "exec")
        exec("\n".join(line for line in cell.splitlines() if line.startswith(("from ", "import "))), {})
