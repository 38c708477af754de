"""The last stage: what it writes is what the run has looked at, and what earlier stages have decided."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.conftest import image_bytes, make_tree, table
from fakes import provide

from elixir.data.manifest import read_manifest
from elixir.data.open import open_source
from elixir.data.source import Kind
from elixir.engine.execution import execute
from elixir.engine.run import Run
from elixir.errors import ElixirError
from elixir.purifiers.classical import Identity
from elixir.stages.index import IndexStage
from elixir.stages.relabel import CONFIRMED
from elixir.stages.write import WriteStage


def decided(
    src: Path,
    folder: Path,
    to: Kind = "folder",
    actions: dict[int, tuple[str, str, int]] | None = None,
    confidence: dict[int, float] | None = None,
    sigma: dict[int, float] | None = None,
) -> Run:
    """A run that has come to its last stage.

    Args:
        src: its source.
        folder: of the run.
        to: kind of the output.
        actions: action, reason and new label of each flagged sample.
        confidence: in its new label; unknown by default.
        sigma: of each sample that is repaired; NaN where it is not known.
    """
    actions, sigma = actions or {}, sigma or {}
    run = Run(folder, open_source(src), Identity(), to=to, facts={"labels": []})
    execute(run, IndexStage())
    flagged = np.array(list(actions), np.int64)
    provide(run, poison_score=np.zeros(len(run)), flagged=np.isin(np.arange(len(run)), flagged))
    sure = [(confidence or {}).get(index, np.nan) for index in actions]
    columns: dict[str, Any] = {"action": object, "reason": object, "new_label": np.int32}
    for place, (name, kind) in enumerate(columns.items()):
        columns[name] = np.array([decision[place] for decision in actions.values()], kind)
    provide(run, flagged, **columns, confidence=np.array(sure, np.float32))
    repaired = np.array(list(sigma), np.int64)
    provide(
        run,
        repaired,
        repaired=np.ones(len(sigma), bool),
        repair_sigma=np.array(list(sigma.values()), np.float32),
    )
    for index in sigma:
        run.repaired_path(index).parent.mkdir(exist_ok=True)
        run.repaired_path(index).write_bytes(image_bytes(9))
    return run


def manifest(run: Run) -> list[dict[str, Any]]:
    return read_manifest(run.output / ".elixir" / "manifest.parquet").to_pylist()


@pytest.mark.parametrize("to", ["folder", "hf", "parquet"])
@pytest.mark.parametrize("id", ["cat/kept.png", "dog/set-aside.png"])
def test_files_that_change_are_noticed(tmp_path: Path, id: str, to: Kind) -> None:
    src = make_tree(tmp_path / "src", {"cat/kept.png": image_bytes(1), "dog/set-aside.png": image_bytes(2)})
    run = decided(src, tmp_path / "run", to, {1: ("quarantined", "poisoned", 1)})
    (src / id).write_bytes(image_bytes(3))
    with pytest.raises(ElixirError, match=f"{id} has changed since the run began; run again with --overwrite"):
        execute(run, WriteStage())
    (src / id).unlink()
    with pytest.raises(ElixirError, match=f"{id} (cannot be read any more: no such file|has changed)"):
        execute(run, WriteStage())


@pytest.mark.parametrize("to", ["folder", "hf", "parquet"])
def test_rows_that_change_are_noticed(tmp_path: Path, to: Kind) -> None:
    table(3).to_parquet(str(tmp_path / "src.parquet"))
    run = decided(tmp_path / "src.parquet", tmp_path / "run", to)
    table(3, start=9).to_parquet(str(tmp_path / "src.parquet"))
    run.source = open_source(tmp_path / "src.parquet")  # which has not read it yet
    with pytest.raises(ElixirError, match="src/00000000 has changed since the run began"):
        execute(run, WriteStage())


def test_the_manifest_tells_how_far_a_picture_was_changed(tmp_path: Path) -> None:
    names = [f"{label}/{number}.png" for label in ("cat", "dog") for number in (0, 1)]
    src = make_tree(tmp_path / "src", {name: image_bytes(number) for number, name in enumerate(names)})
    actions = {
        0: ("relabelled", "poisoned", 1),
        1: ("kept", CONFIRMED, 0),
        2: ("purified", "poisoned, its label is right", 1),
        3: ("purified", "poisoned, its label is right", 1),
    }
    run = decided(src, tmp_path / "run", "folder", actions, sigma={0: 0, 2: 0.075, 3: np.nan})
    execute(run, WriteStage())
    assert [row["reason"] for row in manifest(run)] == [
        "poisoned; only the trigger is taken out",
        "flagged, but the clean model confirms its label",
        "poisoned, its label is right; purified at sigma 0.075",
        "poisoned, its label is right",
    ]


@pytest.mark.parametrize(
    ("poisoned", "without_picture", "undecided"),
    [
        (
            ("relabelled", "poisoned"),
            ("quarantined", "poisoned, and the trigger could not be taken out"),
            ("quarantined", "poisoned, label uncertain"),
        ),
        (
            ("quarantined", "poisoned"),
            ("quarantined", "poisoned"),
            ("quarantined", "poisoned, label uncertain"),
        ),
        (("dropped", "poisoned"), ("dropped", "poisoned"), ("dropped", "poisoned")),
    ],
)
def test_what_was_decided_is_written_but_for_a_sample_without_a_repaired_image(
    tmp_path: Path, poisoned: tuple[str, str], without_picture: tuple[str, str], undecided: tuple[str, str]
) -> None:
    names = ["cat/0.png", "cat/1.png", "cat/2.png", "cat/3.png", "dog/4.png"]
    src = make_tree(tmp_path / "src", {name: image_bytes(number) for number, name in enumerate(names)})
    actions = {0: ("kept", CONFIRMED, 0), 1: (*poisoned, 1), 2: (*poisoned, 1), 3: (*undecided, 1)}
    run = decided(src, tmp_path / "run", "folder", actions, sigma={1: np.nan} if poisoned[0] == "relabelled" else {})
    execute(run, WriteStage())
    rows = manifest(run)
    assert [(row["action"], row["reason"]) for row in rows[1:4]] == [poisoned, without_picture, undecided]
    assert [row["action"] for row in (rows[0], rows[4])] == ["kept", "kept"]
    assert [row["flagged"] for row in rows] == [True] * 4 + [False]
    assert [row["new_label"] for row in rows] == [0, 1 if poisoned[0] == "relabelled" else -1, -1, -1, 1]


def test_the_manifest_tells_how_sure_the_clean_model_is(tmp_path: Path) -> None:
    src = make_tree(tmp_path / "src", {f"{name}.png": image_bytes(1) for name in ("cat/0", "cat/1", "cat/2", "dog/0")})
    actions = {0: ("quarantined", "poisoned, label uncertain", 0), 2: ("kept", CONFIRMED, 0)}
    run = decided(src, tmp_path / "run", "folder", actions, confidence={0: 0.25, 2: 0.75})
    execute(run, WriteStage())
    told = [row["confidence"] for row in manifest(run)]
    assert told == pytest.approx([0.25, np.nan, 0.75, np.nan], nan_ok=True)


def test_without_a_dataset_nothing_needs_to_be_repaired(tmp_path: Path) -> None:
    src = make_tree(tmp_path / "src", {f"{label}/0.png": image_bytes(1) for label in ("cat", "dog")})
    run = decided(src, tmp_path / "run", "folder", {0: ("relabelled", "poisoned", 1)})
    execute(run, WriteStage(dataset=False))
    assert [(row["action"], row["new_label"], row["output"]) for row in manifest(run)] == [
        ("relabelled", 1, ""),
        ("kept", 1, ""),
    ]
    assert [path.name for path in run.output.iterdir()] == [".elixir"]
