"""The last stage: what it writes is what the run has looked at."""

from pathlib import Path

import numpy as np
import pytest
from data.conftest import image_bytes, make_tree, table

from elixir.data.manifest import read_manifest
from elixir.data.open import open_source
from elixir.data.source import Kind
from elixir.engine.local import execute
from elixir.engine.run import Run
from elixir.errors import ElixirError
from elixir.purifiers.classical import Identity
from elixir.stages.emit import EmitStage
from elixir.stages.index import IndexStage

EMIT = EmitStage(verdicts="judge", scores="judge")


def indexed(
    src: Path, folder: Path, verdicts: list[str], to: Kind, policy: str = "quarantine", labels: list[int] | None = None
) -> Run:
    """A run that has come to its last stage, with a verdict on every sample, and its own label if there is no other."""
    run = Run(folder, open_source(src), Identity(), to=to, policy=policy)
    execute(run, IndexStage())
    rows = run.readable_rows()
    new = run.labels[rows] if labels is None else np.array(labels)
    columns = {"verdict": np.array(verdicts, object), "label": new, "suspicion": np.zeros(len(rows))}
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


def test_the_manifest_tells_how_far_a_picture_was_changed(tmp_path: Path) -> None:
    names = [f"{label}/{number}.png" for label in ("cat", "dog") for number in (0, 1)]
    src = make_tree(tmp_path / "src", {name: image_bytes(number) for number, name in enumerate(names)})
    verdicts = ["poisoned", "benign", "poisoned", "poisoned"]
    run = indexed(src, tmp_path / "run", verdicts, "folder", "relabel", labels=[1, 0, 1, 1])
    for row in (0, 2, 3):
        run.selected_path(row).parent.mkdir(exist_ok=True)
        run.selected_path(row).write_bytes(image_bytes(9))
    run.write_part("select", 0, np.array([0, 2]), {"sigma": np.array([0, 0.075], np.float32)})
    run.started("select")
    run.finished("select")
    execute(run, EMIT)
    assert read_manifest(run.output / ".elixir" / "manifest.parquet").column("reason").to_pylist() == [
        "poisoned; only the trigger is taken out",
        "suspected, but the benign model confirms its label",
        "poisoned, its label is right; purified at sigma 0.075",
        "poisoned, its label is right",
    ]


def test_the_manifest_tells_how_sure_the_benign_model_is(tmp_path: Path) -> None:
    src = make_tree(tmp_path / "src", {f"cat/{number}.png": image_bytes(number) for number in range(3)})
    run = indexed(src, tmp_path / "run", ["benign"] * 3, "folder")
    columns = {
        "verdict": np.array(["undecided", "benign"], object),
        "label": np.zeros(2, np.int16),
        "confidence": np.array([0.25, 0.75], np.float32),
    }
    run.write_part("asked", 0, np.array([0, 2]), columns)
    execute(run, EmitStage(verdicts="asked", scores="judge"))
    told = read_manifest(run.output / ".elixir" / "manifest.parquet").column("confidence").to_pylist()
    assert told == pytest.approx([0.25, np.nan, 0.75], nan_ok=True)
