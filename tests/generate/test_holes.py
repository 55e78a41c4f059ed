from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import says

from starloom.errors import GenerationError
from starloom.generate.holes import Filled, infill_many
from starloom.generate.protocol import Ask, Completion, Hole


class Numbering:
    """Answers the n-th hole with <n>, or an error where it is asked for one; remembers what it saw."""

    def __init__(self, failing: frozenset[int] = frozenset()) -> None:
        self.seen: list[tuple[str, str]] = []
        self.calls = 0
        self.failing = failing

    def run(self, asks: Iterable[Ask]) -> Iterator[Completion | GenerationError]:
        self.calls += 1
        for ask in asks:
            assert isinstance(ask, Hole)
            self.seen.append((ask.prefix, ask.suffix))
            number = len(self.seen)
            yield GenerationError("no") if number in self.failing else Completion(f"<{number}>", (), "stop")


@st.composite
def texts_with_gaps(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]]]:
    text = draw(st.text("abc\n", max_size=30))
    edges = sorted(set(draw(st.lists(st.integers(0, len(text)), max_size=8))))
    return text, [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=False)]


def fill(text: str, gaps: list[tuple[int, int]], fillings: list[str]) -> str:
    """The oracle: from the last gap to the first, so that no place moves."""
    for (start, end), filling in sorted(zip(gaps, fillings, strict=True), reverse=True):
        text = text[:start] + filling + text[end:]
    return text


@given(texts_with_gaps(), st.randoms(use_true_random=False), st.booleans(), st.frozensets(st.integers(1, 4)))
def test_each_gap_sees_the_others_as_promised_whatever_order_they_are_given_in(
    case: tuple[str, list[tuple[int, int]]], chance: object, apart: bool, failing: frozenset[int]
) -> None:
    text, gaps = case
    shuffled = list(gaps)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    generator = Numbering(failing)
    filled = infill_many(generator, text, shuffled, apart=apart)  # type: ignore[arg-type]
    made = [text[slice(*gap)] if number in failing else f"<{number}>" for number, gap in enumerate(gaps, 1)]
    assert filled.text == fill(text, gaps, made)
    assert generator.calls == (1 if apart else len(gaps))
    for number, (prefix, suffix) in enumerate(generator.seen):
        others = ["" if apart or other >= number else made[other] for other in range(len(gaps))]
        others[number] = "|"
        assert prefix + "|" + suffix == fill(text, gaps, others)
    for gap, middle in zip(shuffled, filled.middles, strict=True):
        number = gaps.index(gap) + 1
        assert isinstance(middle, GenerationError) if number in failing else middle.text == f"<{number}>"  # type: ignore[union-attr]


def test_a_session_fills_several_places_and_ranges() -> None:
    session, _ = says("x")
    text = "f(, 1)\nold = 2\n"
    assert session.infill_many(text, [(7, 10), 2]).text == "f(x, 1)\nx = 2\n"
    assert session.infill_many(text, [], apart=True) == Filled(text, ())


@pytest.mark.parametrize(
    ("gaps", "message"),
    [
        ([7], "from character 7 to 7 is outside the text of 6 characters"),
        ([(2, 1)], "from character 2 to 1 is outside"),
        ([-1], "from character -1"),
        ([(0, 3), (2, 4)], "the gap at character 2 overlaps the one before it, which ends at 3"),
        ([3, 3], "the gap at character 3 overlaps"),
    ],
)
def test_gaps_that_cannot_be_are_named(gaps: list[int | tuple[int, int]], message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        infill_many(Numbering(), "abcdef", gaps)  # type: ignore[arg-type]
