"""Where the chart's lines and ticks are drawn."""

import xml.etree.ElementTree as ET

from elixir.measurement.tables_and_charts import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, draw_chart

SVG = "{http://www.w3.org/2000/svg}"


def test_points_lie_where_they_belong():
    lines = [("a", [(0.0, 1.0), (1.0, 0.5), (2.0, 0.0)]), ("b <&>", [(0.0, 0.25)])]
    drawing = ET.fromstring(draw_chart(lines, [(0, "0"), (2, "two")], 2, "a title", "an axis"))
    a, _, b, _ = drawing.findall(f"{SVG}path")
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    middle = f"{(LEFT + right) / 2:.2f} {(TOP + bottom) / 2:.2f}"
    assert a.attrib == {"stroke": COLOURS[0], "d": f"M{LEFT}.00 {TOP}.00L{middle}L{right}.00 {bottom}.00"}
    assert b.attrib == {"stroke": COLOURS[1], "d": f"M{LEFT}.00 {bottom - (bottom - TOP) / 4:.2f}"}
    texts = {text.text: text.attrib for text in drawing.findall(f"{SVG}text")}
    assert {"a", "b <&>", "a title", "an axis", "0 %", "100 %"} <= texts.keys()
    assert float(texts["two"]["x"]) == right
