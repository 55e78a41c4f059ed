"""Two texts beside each other: what is not marked is equal, and nothing shown is not in its text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from starloom.report.side_by_side import BEFORE, SHOWN, WIDTH, Pieces, side_by_side

lines = st.lists(st.sampled_from(["", "a", "def f():", "    return 1", "    return 2", "x = [1, 2]"]), max_size=90)


def joined(pieces: Pieces) -> str:
    return "".join(text for text, _ in pieces)


def unmarked(pieces: Pieces) -> str:
    return "".join(text for text, marked in pieces if not marked)


@given(lines, lines)
def test_each_side_shows_its_lines_in_order_and_none_is_lost(one: list[str], other: list[str]) -> None:
    found = side_by_side("\n".join(one), "\n".join(other))
    texts = ["\n".join(one).split("\n"), "\n".join(other).split("\n")]
    if found is None:
        assert texts[0] == texts[1]
        return
    assert 0 < len(found.rows) <= SHOWN
    for side, text in enumerate(texts):
        shown = [joined(row[side]) for row in found.rows if row[side] is not None]
        start = found.first - 1
        assert shown == text[start : start + len(shown)]
        assert found.more[side] == len(text) - start - len(shown)


@given(lines, lines)
def test_what_is_not_marked_is_equal_on_both_sides(one: list[str], other: list[str]) -> None:
    found = side_by_side("\n".join(one), "\n".join(other))
    for left, right in found.rows if found else ():
        if left is not None and right is not None:
            assert unmarked(left) == unmarked(right)


@given(lines, lines)
def test_the_first_difference_is_in_sight(one: list[str], other: list[str]) -> None:
    found = side_by_side("\n".join(one), "\n".join(other))
    if found is not None:
        different = [n for n, (a, b) in enumerate(found.rows) if a is None or b is None or joined(a) != joined(b)]
        assert different[0] <= BEFORE


def test_a_long_line_is_shown_around_its_first_difference() -> None:
    line = "0123456789" * 500
    found = side_by_side(line + "x" + line, line + "y" + line)
    assert found is not None
    ((left, right),) = found.rows
    assert left is not None
    assert right is not None
    assert [text for text, marked in left if marked] == ["x"]
    assert [text for text, marked in right if marked] == ["y"]
    assert joined(left).startswith("…")
    assert joined(left).endswith("…")
    assert len(joined(left)) == WIDTH + 2


def test_the_end_of_a_longer_text_is_what_differs() -> None:
    found = side_by_side("a\nb\n", "a\nb\nc")
    assert found is not None
    assert [tuple(map(joined, filter(None, row))) for row in found.rows] == [("a", "a"), ("b", "b"), ("c",)]
