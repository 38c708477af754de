"""The notebooks run from the first to the last cell, and are kept with what they show."""

import re
from pathlib import Path

import nbformat
import pytest
from run_notebooks import NOTEBOOKS, run

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
LARGEST = 1_500_000  # bytes
FORBIDDEN = re.compile(r"/tmp/|/home/|/root/|/work/|/Users/|site-packages|[A-Z]:\\\\")
"""Paths of the machine that it ran on."""
notebooks = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def test_all_are_found():
    names = {"quickstart", "attacks", "your_own", "hugging_face", "robustness_and_certificates"}
    assert {path.stem for path in PATHS} == names


@notebooks
def test_it_is_kept_as_it_ran(path: Path):
    text = path.read_text("utf-8")
    assert len(text) < LARGEST
    assert not FORBIDDEN.findall(text)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs
    assert all(output.output_type != "error" and output.get("name") != "stderr" for output in outputs)


@pytest.mark.slow
@pytest.mark.timeout(2000)  # a minute or two on two free cores
@notebooks
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert kinds_of_outputs(run(path)) == kinds_of_outputs(nbformat.read(path, as_version=4))


def kinds_of_outputs(notebook: nbformat.NotebookNode) -> list[set[str]]:
    """For each cell, such as {"text/plain", "image/png"}."""
    return [{kind for each in cell.get("outputs", ()) for kind in each.get("data", ())} for cell in notebook.cells]
