"""Certified accuracy and certifications side by side, from certificates written down by hand."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from elixir.certification.report import (
    Row,
    accuracies,
    certification_tables,
    draw_curve,
    radii_up_to,
    read_certification,
)
from elixir.certification.sampling import Certificate
from elixir.data.columns import write_columns
from elixir.errors import ElixirError
from elixir.measurement.tables_and_charts import draw_chart
from elixir.statistics import binomial_interval


def test_accuracies_by_hand():
    def row(id: str, sigma: float, prediction: int, radius: float) -> Row:
        return Row(id, 1, sigma, Certificate(prediction, radius == 0, radius, 0.5, 0, 0))

    low = [row("a", 0.1, 1, 0.3), row("b", 0.1, 1, 0.2), row("c", 0.1, 2, 0.3), row("d", 0.1, 1, 0)]
    high = [row("a", 0.5, 1, 0.9), row("b", 0.5, 2, 0.6), row("c", 0.5, 1, 0), row("d", 0.5, 2, 0)]
    found = accuracies([*low, *high], [0.1, 0.5], [0, 0.25, 0.5, 0.75, 1])
    assert found["sigmas"][0]["certified"] == [0.5, 0.25, 0, 0, 0]
    assert found["sigmas"][0]["wrong"] == [0.25, 0.25, 0, 0, 0]
    assert found["sigmas"][0]["abstained"] == [0.25, 0.5, 1, 1, 1]
    assert found["sigmas"][1]["certified"] == [0.25, 0.25, 0.25, 0.25, 0]
    assert [best["sigma"] for best in found["best"]] == [0.1, 0.1, 0.5, 0.5, 0.1]
    assert [found["best"][0][end] for end in ("low", "high")] == list(binomial_interval(2, 4))
    assert found["average"] == (0.5 + 0.25 + 0.25 + 0.25) / 4
    assert radii_up_to(0.3) == [0, 0.25, 0.5, 0.75]
    assert radii_up_to(1.232) == [0, 0.25, 0.5, 0.75, 1]


def test_the_curve_falls_by_one_image_at_the_radius_of_each():
    outcomes = [(1, 0.4), (1, 0.2), (2, 0.3), (1, 0.0)]
    rows = [
        Row(str(index), 1, 0.1, Certificate(prediction, radius == 0, radius, 0.5, 0, 0))
        for index, (prediction, radius) in enumerate(outcomes)
    ]
    steps = [(0, 0.5), (0.2, 0.5), (0.2, 0.25), (0.4, 0.25), (0.4, 0), (0.5, 0)]
    expected = draw_chart([("", steps)], [], 0.5, "", "")
    drawn, hand = (
        ET.fromstring(svg).findall("{http://www.w3.org/2000/svg}path")[0].attrib["d"]
        for svg in (draw_curve(rows, [0.1], 0.5, "t"), expected)
    )
    assert drawn == hand


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
