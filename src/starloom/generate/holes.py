"""Several gaps in one text: filled in order, each seeing what was filled before it, or each on its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from starloom.errors import GenerationError
from starloom.generate.protocol import DEFAULTS, Completion, Generator, Hole, Mode, Settings

Gap = int | tuple[int, int]  # a place between two characters, or the range of characters to replace


@dataclass(frozen=True, slots=True)
class Filled:
    """A text whose gaps were filled. A gap that failed keeps what it held, and its error is in the place of its middle."""

    text: str
    middles: tuple[Completion | GenerationError, ...]  # in the order in which the gaps were given


def infill_many(
    generator: Generator,
    text: str,
    gaps: Sequence[Gap],
    *,
    settings: Settings = DEFAULTS,
    apart: bool = False,
    mode: Mode = "psm",
) -> Filled:
    """Fill the gaps from first to last place; what a range held is not shown to the model.

    A gap sees the text before it with the gaps there filled, and the text after it with the gaps there empty. `apart`,
    every other gap is empty, none sees another's filling, and all run at once. Raises GenerationError for gaps that
    overlap or lie outside the text.
    """
    ranges = [(gap, gap) if isinstance(gap, int) else gap for gap in gaps]
    order = sorted(range(len(ranges)), key=lambda number: ranges[number])
    _check([ranges[number] for number in order], len(text))
    between = _between(text, [ranges[number] for number in order])
    makes = (
        _apart(generator, between, settings, mode)
        if apart
        else _in_turn(generator, text, ranges, order, settings, mode)
    )
    middles: list[Completion | GenerationError] = [GenerationError("not filled")] * len(ranges)
    pieces = [between[0]]
    for number, middle, after in zip(order, makes, between[1:], strict=True):
        middles[number] = middle
        pieces += [_filling(middle, text, ranges[number]), after]
    return Filled("".join(pieces), tuple(middles))


def _in_turn(
    generator: Generator,
    text: str,
    ranges: Sequence[tuple[int, int]],
    order: Sequence[int],
    settings: Settings,
    mode: Mode,
) -> Iterator[Completion | GenerationError]:
    between = _between(text, [ranges[number] for number in order])
    before = between[0]
    for place, number in enumerate(order, 1):
        [middle] = generator.run([Hole(before, "".join(between[place:]), settings, mode)])
        yield middle
        before += _filling(middle, text, ranges[number]) + between[place]


def _apart(
    generator: Generator, between: Sequence[str], settings: Settings, mode: Mode
) -> Iterator[Completion | GenerationError]:
    places = range(1, len(between))
    return generator.run(Hole("".join(between[:place]), "".join(between[place:]), settings, mode) for place in places)


def _between(text: str, ranges: Sequence[tuple[int, int]]) -> list[str]:
    """The text before the first gap, between each two, and after the last."""
    ends = [0, *(end for _, end in ranges)]
    starts = [*(start for start, _ in ranges), len(text)]
    return [text[end:start] for end, start in zip(ends, starts, strict=True)]


def _filling(middle: Completion | GenerationError, text: str, gap: tuple[int, int]) -> str:
    return text[slice(*gap)] if isinstance(middle, GenerationError) else middle.text


def _check(ranges: Sequence[tuple[int, int]], length: int) -> None:
    last = 0
    for number, (start, end) in enumerate(ranges):
        if not 0 <= start <= end <= length:
            raise GenerationError(
                f"the gap from character {start} to {end} is outside the text of {length:,} characters"
            )
        if start < last or (number and start == end == last == ranges[number - 1][0]):
            raise GenerationError(f"the gap at character {start} overlaps the one before it, which ends at {last}")
        last = end
