"""Certified accuracy from certificates written down by hand."""

import xml.etree.ElementTree as ET

from elixir.certification.accuracy import Row, accuracies, draw_curve, radii_up_to
from elixir.certification.sampling import Certificate
from elixir.measurement.chart import draw_chart
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
