"""Certifications side by side, from files worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from elixir.certification.tables import certification_tables, read_certification
from elixir.data.columns import write_columns
from elixir.errors import ElixirError


def certification(folder: Path, radii: list[float], nfe: int) -> Path:
    """One noise level; images of label 0, all predicted right, abstained where the radius is 0."""
    folder.mkdir()
    number, radius = len(radii), np.array(radii)
    columns = {
        "id": np.array([f"image-{index}" for index in range(number)], object),
        "label": np.zeros(number, np.int64),
        "sigma": np.full(number, 0.5),
        "prediction": np.zeros(number, np.int64),
        "abstained": radius == 0,
        "radius": radius,
        "p_lower": np.full(number, 0.5),
        "hits": np.full(number, 9),
        "draws": np.full(number, 90),
    }
    write_columns(folder / "rows.parquet", columns)
    settings = {"test": "signs.parquet", "sigmas": [0.5], "n0": 10, "n": 90, "alpha": 0.01, "seed": 0, "device": "cpu"}
    (folder / "summary.json").write_text(json.dumps({"settings": settings}))
    timings = {
        "nfe": nfe * 100 * number,
        "draws": 90 * number,
        "images_per_minute": 12.0,
        "machine": {"gpu": None, "cpu": "abacus"},
    }
    (folder / "timings.json").write_text(json.dumps(timings))
    return folder


def lines(tables: str) -> list[str]:
    return [line for line in tables.splitlines() if line.startswith(("| a", "| b"))]


def test_accuracy_and_cost_of_each(tmp_path: Path):
    a = certification(tmp_path / "a|", [0, 0.3, 0.6, 0.8], nfe=8)
    tables = certification_tables([read_certification(a)])
    assert lines(tables) == ["| a\\| | 8 | 4 | 75.0 | 75.0 | 50.0 | 25.0 | 56.25 | 12 |"]
    assert tables.startswith("signs; sigma 0.5; n = 90, alpha = 0.01, seed 0; abacus\n\n")


def test_fewer_images_are_compared_on_those_that_all_have(tmp_path: Path):
    a = certification(tmp_path / "a", [0, 0.3, 0.6, 0.8], nfe=1)
    b = certification(tmp_path / "b", [0.3, 0.3], nfe=1)
    found = [
        line.split(" | ")[2:8] for line in lines(certification_tables([read_certification(a), read_certification(b)]))
    ]
    assert found == [
        ["4", "75.0", "75.0", "50.0", "25.0", "56.25"],
        ["2", "100.0", "100.0", "0.0", "0.0", "50.00"],
        ["2", "50.0", "50.0", "0.0", "0.0", "25.00"],
        ["2", "100.0", "100.0", "0.0", "0.0", "50.00"],
    ]


def test_an_unfinished_certification_is_refused(tmp_path: Path):
    with pytest.raises(ElixirError, match="no finished certification"):
        read_certification(tmp_path)


def test_other_results_are_refused(tmp_path: Path):
    folder = certification(tmp_path / "a", [0.3], nfe=1)
    (folder / "timings.json").write_text('{"draws": 90}')
    with pytest.raises(ElixirError, match="holds no certification by this version"):
        read_certification(folder)
    write_columns(folder / "rows.parquet", {"id": np.array(["a"], object)})
    with pytest.raises(ElixirError, match="holds no certification"):
        read_certification(folder)
