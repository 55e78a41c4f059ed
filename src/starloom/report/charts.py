"""Charts as inline SVG without scripts: colors come from the page's CSS, figures under the pointer from `<title>`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from starloom.report.plain import count, share, visible

BUCKETS = 72  # points drawn of a curve: few enough that their means show where a noisy one goes
REACH = 0.1  # of a point's measurements lie below its band, and as many above
TOLD = 12  # lines under the pointer
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 44  # margins in units of the drawing; labels grow on a phone

Point = tuple[float, float]
Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Series:
    """A curve: what it is called, its (x, y) points by rising x, and which color of the page it takes."""

    name: str
    points: Sequence[Point]
    color: int = 0
    dots: bool = False  # few measurements, each a dot


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal line to compare with."""

    name: str
    value: float
    color: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line at a place on the x axis where something happened; `color` is a class of the page."""

    name: str
    x: float
    color: str


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a whole in a stacked bar."""

    name: str
    value: float
    color: str


@dataclass(frozen=True, slots=True)
class _Bucket:
    x: float
    mean: float
    low: float
    high: float


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`: steps of 1, 2 or 5 times a power of ten."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # as good as one value
        low, high = low - (abs(low) or 1) / 2, low + (abs(low) or 1) / 2
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def tick_texts(values: Sequence[float]) -> list[str]:
    """Ticks as short as they can be, all with the same decimals and unit: 0.010, 0.015; 20k, 25k; 3M."""
    step = min((b - a for a, b in pairwise(values)), default=abs(values[0]) or 1)
    most = max(map(abs, values))
    size, unit = next(
        ((size, unit) for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if most >= 10 * size), (1, "")
    )
    if 0 < most < 1e-3:
        return [f"{value:.3g}" for value in values]
    decimals = max(0, -math.floor(math.log10(step / size) + 1e-9))
    return [f"{value / size:.{decimals}f}{unit}" if value else "0" for value in values]


def buckets(points: Sequence[Point], most: int = BUCKETS) -> list[_Bucket]:
    """Points joined into at most `most` neighbors: the mean of each, and between what most of its values lie."""
    number = min(most, len(points))
    found = []
    for place in range(number):
        group = points[place * len(points) // number : (place + 1) * len(points) // number]
        values = sorted(y for _, y in group)
        edge = round(REACH * (len(values) - 1))
        found.append(_Bucket(group[-1][0], sum(values) / len(values), values[edge], values[-1 - edge]))
    return found


def line_chart(
    name: str,
    series: Sequence[Series],
    *,
    x_name: str,
    levels: Sequence[Level] = (),
    marks: Sequence[Mark] = (),
    width: int = 720,
    height: int = 290,
    from_zero: bool = False,
    text: Format = count,
) -> str:
    """An SVG with axes, curves, levels to compare with, and a title over each place on the x axis."""
    drawn = [(one, buckets(one.points)) for one in series if one.points]
    if not drawn:
        return ""
    xs = [bucket.x for _, line in drawn for bucket in line]
    ys = [edge for _, line in drawn for bucket in line for edge in (bucket.low, bucket.high)]
    ys += [level.value for level in levels] + [0.0] * from_zero
    x_ticks, y_ticks = ticks(min(xs), max(xs), 6), ticks(min(ys), max(ys), 5)
    x_low, x_high = min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1

    def at_x(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (width - LEFT - RIGHT)

    def at_y(y: float) -> float:
        return height - BOTTOM - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (height - TOP - BOTTOM)

    body = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{_text(name)}">',
        *_axes(x_ticks, y_ticks, at_x, at_y, (x_low, x_high), (width, height), x_name),
    ]
    for level in levels:
        y = at_y(level.value)
        body.append(
            f'<line class="level c{level.color}" x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}">'
            f"<title>{_text(level.name)}: {_text(text(level.value))}</title></line>"
        )
    for mark in marks:
        if x_low <= mark.x <= x_high:
            x = at_x(mark.x)
            body.append(
                f'<line class="mark-at {mark.color}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>'
            )
    for one, line in drawn:
        body.append(f'<g class="c{one.color}">{"".join(_curve(one, line, at_x, at_y))}</g>')
    body += _titles(drawn, marks, at_x, (width, height), x_name, text)
    return "".join([*body, "</svg>"])


def _axes(
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    at_x: Callable[[float], float],
    at_y: Callable[[float], float],
    x_range: tuple[float, float],
    extent: tuple[int, int],
    x_name: str,
) -> Iterator[str]:
    width, height = extent
    yield '<g class="axes">'
    for value, text in zip(y_ticks, tick_texts(y_ticks), strict=True):
        y = at_y(value)
        yield f'<line x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    for value, text in zip(x_ticks, tick_texts(x_ticks), strict=True):
        if x_range[0] <= value <= x_range[1]:
            yield f'<text x="{at_x(value):.1f}" y="{height - BOTTOM + 18}" text-anchor="middle">{text}</text>'
    yield f'<text class="name" x="{width - RIGHT}" y="{height - 6}" text-anchor="end">{_text(x_name)}</text></g>'


def _curve(
    one: Series, line: Sequence[_Bucket], at_x: Callable[[float], float], at_y: Callable[[float], float]
) -> Iterator[str]:
    if any(bucket.high > bucket.low for bucket in line):
        edge = [(bucket.x, bucket.high) for bucket in line] + [(bucket.x, bucket.low) for bucket in reversed(line)]
        yield f'<polygon class="reach" points="{_points(edge, at_x, at_y)}"/>'
    if len(line) > 1:
        yield f'<polyline points="{_points([(bucket.x, bucket.mean) for bucket in line], at_x, at_y)}"/>'
    if one.dots or len(line) == 1:
        for bucket in line:
            yield f'<circle cx="{at_x(bucket.x):.1f}" cy="{at_y(bucket.mean):.1f}" r="3.5"/>'


def _titles(
    drawn: Sequence[tuple[Series, Sequence[_Bucket]]],
    marks: Sequence[Mark],
    at_x: Callable[[float], float],
    extent: tuple[int, int],
    x_name: str,
    text: Format,
) -> Iterator[str]:
    """Invisible columns, one for each place on the x axis, that say every curve's figure there, and what happened up to it."""
    said: dict[float, list[str]] = {}
    for one, line in drawn:
        for bucket in line:
            said.setdefault(bucket.x, []).append(f"{one.name} {text(bucket.mean)}")
    places = sorted(said)
    for mark in marks:
        after = next((x for x in places if x >= mark.x), None)
        if after is not None and len(said[after]) < TOLD:
            said[after].append(mark.name)
    width, height = extent
    for position, x in enumerate(places):
        left = (at_x(places[position - 1]) + at_x(x)) / 2 if position else LEFT
        right = (at_x(x) + at_x(places[position + 1])) / 2 if position + 1 < len(places) else width - RIGHT
        yield (
            f'<rect class="hover" x="{left:.1f}" y="{TOP}" width="{max(right - left, 0.1):.1f}" '
            f'height="{height - TOP - BOTTOM}"><title>{_text(f"{x_name} {count(x)}")}'
            + "".join(f"\n{_text(item)}" for item in said[x])
            + "</title></rect>"
        )


def _points(points: Sequence[Point], at_x: Callable[[float], float], at_y: Callable[[float], float]) -> str:
    return " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)


def stacked_bar(name: str, pieces: Sequence[Piece], *, width: int = 1000, height: int = 34) -> str:
    """One bar whose pieces have the shares of their values; each tells its name, figure and share."""
    total = sum(piece.value for piece in pieces)
    if total <= 0:
        return ""
    body = [
        f'<svg class="stack" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" aria-label="{_text(name)}">'
    ]
    left = 0.0
    for piece in pieces:
        reach = piece.value / total * width
        body.append(
            f'<rect class="{piece.color}" x="{left:.2f}" width="{reach:.2f}" height="{height}"><title>'
            f"{_text(piece.name)}: {_text(count(piece.value))} ({share(piece.value, total)})</title></rect>"
        )
        left += reach
    return "".join([*body, "</svg>"])


def _text(text: str) -> str:
    return escape(visible(text))
