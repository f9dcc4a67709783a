"""Charts: well-formed SVG whose marks stand where the data say."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdepth_jax.reports import charts

SVG = "{http://www.w3.org/2000/svg}"


@given(low=st.floats(-1e6, 1e6), room=st.floats(1e-3, 1e6))
def test_ticks_are_round_inside_and_few(low, room):
    found = charts.ticks(low, low + room)
    assert 1 <= len(found) <= 11
    assert all(low - 1e-6 * room - 1e-9 <= t <= low + room * (1 + 1e-6) + 1e-9 for t in found)
    if len(found) > 2:
        gaps = np.diff(found)
        np.testing.assert_allclose(gaps, gaps[0], rtol=1e-6, atol=1e-9)


def test_ticks_of_a_common_range():
    assert charts.ticks(0.0, 1.0) == [0.0, 0.5, 1.0] or charts.ticks(0.0, 1.0) == [
        0.0,
        0.2,
        0.4,
        0.6,
        0.8,
        1.0,
    ]
    assert charts.ticks(3.0, 3.0) == [3.0]


def test_bars_are_as_long_as_their_values():
    root = ET.fromstring(charts.bars([("a <b>", 0.1, (0.08, 0.12)), ("c", 0.4, None)]))
    widths = [float(r.get("width")) for r in root.iter(f"{SVG}rect")]
    assert widths[1] == pytest.approx(4 * widths[0], rel=1e-2)
    assert "a <b>" in [t.text for t in root.iter(f"{SVG}text")]


def test_lines_share_their_axes():
    """A diagonal, and a flat line at half: corners of the drawing, and the middle of its height."""
    drawn = [("mark", (0, 1), (0, 1)), ("line", (0, 1), (0.5, 0.5))]
    root = ET.fromstring(charts.lines(drawn, "coverage <b>", x=(0.0, 1.0), y=(0.0, 1.0)))
    mark, line = root.iter(f"{SVG}polyline")
    (a, b), (c, d) = (
        [[float(x) for x in p.split(",")] for p in e.get("points").split()] for e in (mark, line)
    )
    assert (mark.get("class"), line.get("class")) == ("mark", "line")
    assert a[0] == c[0] < b[0] == d[0]
    assert c[1] == d[1] == pytest.approx((a[1] + b[1]) / 2, abs=0.1)
    assert a[1] > b[1]  # up is up
    assert "coverage <b>" in root.get("aria-label")
    one = ET.fromstring(charts.lines([("line other", [0.5], [0.5])], "one", x=(0.0, 1.0), y=(0.0, 1.0)))
    assert next(one.iter(f"{SVG}circle")).get("class") == "dot other"


def test_histogram_bars_are_as_high_as_their_counts_and_the_tail_is_gathered():
    values = [0.05] * 100 + [0.5] * 200 + [0.9] * 400 + [50.0] * 5
    root = ET.fromstring(charts.histogram(values, "Abs Rel", top=1.0, marks=(0.9,)))
    heights = np.array([float(r.get("height")) for r in root.iter(f"{SVG}rect")])
    np.testing.assert_allclose(heights / heights[0], [1, 2, 4, 0.05], rtol=0.05)
    (mark,) = [line for line in root.iter(f"{SVG}line") if line.get("class") == "mark"]
    bar = list(root.iter(f"{SVG}rect"))[2]
    assert (
        float(bar.get("x")) - 1 <= float(mark.get("x1")) <= float(bar.get("x")) + float(bar.get("width")) + 1
    )


def test_a_curve_of_many_points_stays_small_and_ends_at_the_last():
    steps = np.arange(1, 20001)
    svg = charts.curve(steps, 1 / steps, "loss")
    assert len(svg) < 20_000
    root = ET.fromstring(svg)
    line = root.find(f"{SVG}polyline").get("points").split()
    assert len(line) == 240
    ys = [float(p.split(",")[1]) for p in line]
    assert ys == sorted(ys)  # a falling loss goes down the page
    assert root.find(f"{SVG}circle").get("cy") == line[-1].split(",")[1]


def test_a_trajectory_keeps_its_shape():
    square = {"truth": [[0, 0], [10, 0], [10, 10], [0, 10]], "predicted": [[0, 0], [0, 5]]}
    root = ET.fromstring(charts.top_view(square))
    true, ours = (
        np.array([p.split(",") for p in line.get("points").split()], float)
        for line in root.iter(f"{SVG}polyline")
    )
    sides = np.linalg.norm(np.diff(true, axis=0), axis=1)
    np.testing.assert_allclose(sides, sides[0], rtol=1e-3)  # metres are alike on both axes
    assert np.linalg.norm(ours[1] - ours[0]) == pytest.approx(sides[0] / 2, rel=1e-3)
    assert ours[1, 1] < ours[0, 1]  # ahead is up
    still = {"truth": [[1, 1]] * 3, "predicted": [[1, 1]] * 3}
    ET.fromstring(charts.top_view(still))
    wide = ET.fromstring(charts.top_view({"truth": [[0, 0], [500, 1]], "predicted": [[0, 0], [500, 1]]}))
    assert 100 < float(wide.get("viewBox").split()[3]) < 130


def test_constant_and_single_values_do_not_divide_by_zero():
    ET.fromstring(charts.curve([1, 2], [0.0, 0.0], "flat"))
    ET.fromstring(charts.histogram([0.0], "one", top=1e-6))
    ET.fromstring(charts.bars([("nothing", 0.0, None)]))
