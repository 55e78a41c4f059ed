"""Charts: round ticks, bounded size, figures kept."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starloom.report.charts import BUCKETS, Level, Piece, Series, buckets, line_chart, stacked_bar, tick_texts, ticks

numbers = st.floats(-1e6, 1e6, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-6)


@given(numbers, numbers)
def test_ticks_enclose_their_range_in_equal_steps(one: float, other: float) -> None:
    low, high = sorted((one, other))
    found = ticks(low, high)
    steps = {round(b - a, 9) for a, b in pairwise(found)}
    assert 2 <= len(found) <= 12
    span = found[-1] - found[0]
    assert max(steps) - min(steps) <= 1e-6 * span
    if high - low > 1e-9 * max(abs(low), abs(high)):
        assert found[0] <= low + 1e-6 * span
        assert found[-1] >= high - 1e-6 * span


@given(numbers, numbers)
def test_no_two_ticks_read_alike(one: float, other: float) -> None:
    low, high = sorted((one, other))
    texts = tick_texts(ticks(low, high))
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0, 0.005, 0.01], ["0", "0.005", "0.010"]),
        ([0, 500, 1000], ["0", "500", "1000"]),
        ([10_000, 20_000], ["10k", "20k"]),
        ([0, 500_000, 1_000_000], ["0", "500k", "1000k"]),
        ([1.5, 2.0, 2.5], ["1.5", "2.0", "2.5"]),
        ([0, 0.0001, 0.0002], ["0", "0.0001", "0.0002"]),
    ],
)
def test_ticks_are_written_short(values: list[float], texts: list[str]) -> None:
    assert tick_texts(values) == texts


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=500))
@settings(max_examples=30)
def test_joining_points_keeps_their_weighted_mean_and_their_end(values: list[float]) -> None:
    joined = buckets(list(enumerate(values)))
    ends = [one.x + 1 for one in joined]
    weights = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert max(weights) - min(weights) <= 1
    assert len(joined) <= BUCKETS
    mean = sum(one.mean * weight for one, weight in zip(joined, weights, strict=True)) / len(values)
    assert mean == pytest.approx(sum(values) / len(values), abs=1e-9)
    assert joined[-1].x == len(values) - 1
    assert all(min(values) <= one.low <= one.high <= max(values) for one in joined)


def test_the_band_around_a_curve_leaves_single_outliers_out() -> None:
    values = [10.0, *[1.0 + n / 100 for n in range(18)], -10.0] * BUCKETS
    for one in buckets(list(enumerate(values))):
        assert 0 < one.low < one.high < 2


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.floats(-1e6, 1e6)), min_size=1, max_size=40, unique_by=lambda p: p[0])
)
@settings(max_examples=50)
def test_a_line_chart_is_well_formed_and_stays_in_its_frame(points: list[tuple[float, float]]) -> None:
    svg = line_chart("a <b> & c", [Series("x", sorted(points))], x_name="step", levels=[Level("gzip", 3.5)])
    tree = ET.fromstring(svg)
    _, _, width, height = map(float, tree.attrib["viewBox"].split())
    lines = [one.attrib["points"] for one in tree.iter("polyline")]
    for line in lines:
        for pair in line.split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height
    assert tree.attrib["aria-label"] == "a <b> & c"


def test_a_chart_without_points_is_nothing() -> None:
    assert line_chart("empty", [Series("x", [])], x_name="step", levels=[Level("gzip", 1.0)]) == ""


def test_a_bar_has_pieces_in_the_shares_of_their_values() -> None:
    tree = ET.fromstring(stacked_bar("files", [Piece("kept", 3, "s"), Piece("<long>", 1, "d0")], width=400))
    assert [float(one.attrib["width"]) for one in tree.iter("rect")] == [300, 100]
    assert [one.text for one in tree.iter("title")] == ["kept: 3 (75.0 %)", "<long>: 1 (25.0 %)"]
