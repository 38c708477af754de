"""The last stage: what it writes is what the run has looked at."""

from pathlib import Path

import numpy as np
import pytest
from data.conftest import image_bytes, make_tree, table

from elixir.data.opening import open_source
from elixir.data.source import Kind
from elixir.errors import ElixirError
from elixir.run.run import Run
from elixir.stages.emit import EmitStage
from elixir.stages.execute import execute
from elixir.stages.index import IndexStage

EMIT = EmitStage(verdicts="judge", scores="judge")


def indexed(src: Path, folder: Path, verdicts: list[str], to: Kind) -> Run:
    """A run that has come to its last stage."""
    run = Run(folder, open_source(src), to=to, policy="quarantine")
    execute(run, IndexStage())
    rows = run.readable_rows()
    columns = {"verdict": np.array(verdicts, object), "label": run.labels[rows], "suspicion": np.zeros(len(rows))}
    run.write_part("judge", 0, rows, columns)
    return run


@pytest.mark.parametrize("to", ["folder", "hf", "parquet"])
@pytest.mark.parametrize("id", ["cat/kept.png", "dog/set-aside.png"])
def test_files_that_change_are_noticed(tmp_path: Path, id: str, to: Kind) -> None:
    src = make_tree(tmp_path / "src", {"cat/kept.png": image_bytes(1), "dog/set-aside.png": image_bytes(2)})
    run = indexed(src, tmp_path / "run", ["benign", "poisoned"], to)
    (src / id).write_bytes(image_bytes(3))
    with pytest.raises(ElixirError, match=f"{id} has changed since the run began; run again with --overwrite"):
        execute(run, EMIT)
    (src / id).unlink()
    with pytest.raises(ElixirError, match=f"{id} (cannot be read any more: no such file|has changed)"):
        execute(run, EMIT)


@pytest.mark.parametrize("to", ["folder", "hf", "parquet"])
def test_rows_that_change_are_noticed(tmp_path: Path, to: Kind) -> None:
    table(3).to_parquet(str(tmp_path / "src.parquet"))
    run = indexed(tmp_path / "src.parquet", tmp_path / "run", ["benign"] * 2, to)
    table(3, start=9).to_parquet(str(tmp_path / "src.parquet"))
    run.source = open_source(tmp_path / "src.parquet")  # which has not read it yet
    with pytest.raises(ElixirError, match="src/00000000 has changed since the run began"):
        execute(run, EMIT)
