"""Figures, tables and the drawing of outcomes written down by hand."""

import xml.etree.ElementTree as ET

from elixir.measurement.tables_and_charts import draw_chart
from elixir.robustness.report import Measurement, Result, draw_robustness, robustness_tables, summarize


def test_an_unchanged_image_has_no_residual():
    job = {"mode": "static", "purifier": "jpeg", "attack": "cw", "eps": "8/255"}
    entries = [
        {"job": job, "first": 0, "predictions": [1, 2], "residuals": [None, 0.5]},
        {"job": job, "first": 2, "predictions": [0], "residuals": [1.5]},
    ]
    (found,) = summarize(entries, [1, 1, 0])
    assert (found.accuracy, found.residual, found.images) == (2 / 3, 1.0, 3)
    assert found.low < 2 / 3 < found.high
    (none,) = summarize([{"job": job, "first": 0, "predictions": [1], "residuals": [None]}], [1])
    assert none.residual is None


def test_attacks_that_not_all_have_met_stand_in_no_table():
    def outcome(purifier: str, attack: str, accuracy: float) -> Result:
        return Result("static", purifier, attack, "0" if attack == "clean" else "8/255", 10, accuracy, 0.0, 1.0, None)

    settings = {"test": "t", "images_sha256": "", "classifier": "", "classifier_sha256": ""}
    settings |= {"sigma": 0.1, "draws": 1, "seed": 0, "images": 10}
    both = [outcome("none", "clean", 1.0), outcome("none", "fgsm", 0.5), outcome("none", "cw", 0.1)]
    one = [outcome("impure=a.safetensors", "clean", 0.9), outcome("impure=a.safetensors", "fgsm", 0.7)]
    table = robustness_tables([Measurement(settings, both, "here"), Measurement(settings, one, "here")])
    assert table.splitlines()[2:] == [
        "| purifier | clean | fgsm | mean |",
        "|---|---|---|---|",
        "| none | 100.0 | 50.0 | 50.0 |",
        "| impure | 90.0 | 70.0 | 70.0 |",
    ]


def test_the_drawing_shows_the_mean_over_the_attacks():
    def outcome(mode: str, purifier: str, attack: str, eps: str, accuracy: float) -> Result:
        return Result(mode, purifier, attack, eps, 10, accuracy, 0.0, 1.0, None)

    results = [
        outcome("static", "jpeg", "clean", "0", 0.9),
        outcome("static", "jpeg", "cw", "8/255", 0.5),
        outcome("static", "jpeg", "fgsm", "8/255", 0.7),
        outcome("static", "jpeg", "fgsm", "16/255", 0.4),
        outcome("adaptive", "jpeg", "fgsm", "16/255", 0.1),
    ]
    lines = {
        "static": [(0.0, 0.9), (8 / 255, (0.5 + 0.7) / 2), (16 / 255, 0.4)],
        "adaptive": [(0.0, 0.9), (16 / 255, 0.1)],
    }
    for mode, points in lines.items():
        drawn, hand = (
            ET.fromstring(svg).findall("{http://www.w3.org/2000/svg}path")[0].attrib["d"]
            for svg in (
                draw_robustness(results, mode, "t"),
                draw_chart([("jpeg", points)], [], 16 / 255, "", ""),
            )
        )
        assert drawn == hand
