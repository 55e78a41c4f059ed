"""Two texts beside each other around the place where they first differ, with what differs marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

LINES = 60  # of each text that are compared, so that difflib's time stays bounded; our choice
SHOWN = 40  # rows of the excerpt
BEFORE = 3  # equal lines in front of the first that differs
WIDTH = 160  # characters of a line; around the first difference when it is longer
LEAD = 40  # of them in front of that difference

Pieces = tuple[tuple[str, bool], ...]  # (text, whether it differs)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Rows of two texts, None where one has no line; the number of the first line; lines left out below."""

    first: int
    rows: tuple[tuple[Pieces | None, Pieces | None], ...]
    more: tuple[int, int]


def side_by_side(left: str, right: str) -> Excerpt | None:
    """The excerpt of two texts; None when they are equal. Rows that are equal on both sides have nothing marked."""
    if left == right:
        return None
    one, other = left.split("\n"), right.split("\n")
    shared = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start = max(0, shared - BEFORE)
    pair = one[start : start + LINES], other[start : start + LINES]
    rows: list[tuple[Pieces | None, Pieces | None]] = []
    reached = [0, 0]
    for a, b in _paired(*pair):
        if len(rows) == SHOWN:
            break
        rows.append(_marked(a, b))
        reached = [reached[0] + (a is not None), reached[1] + (b is not None)]
    left_over = (len(one) - start - reached[0], len(other) - start - reached[1])
    return Excerpt(start + 1, tuple(rows), left_over)


def _paired(one: Sequence[str], other: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    """Lines that are equal or that replace each other, None beside a line that only one text has."""
    for kind, a, a_end, b, b_end in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind == "equal":
            yield from zip(one[a:a_end], other[b:b_end], strict=True)
            continue
        for step in range(max(a_end - a, b_end - b)):
            yield (
                one[a + step] if a + step < a_end else None,
                other[b + step] if b + step < b_end else None,
            )


def _marked(a: str | None, b: str | None) -> tuple[Pieces | None, Pieces | None]:
    if a is None or b is None:
        return _whole(a), _whole(b)
    shared = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    begin = max(0, shared - LEAD) if max(len(a), len(b)) > WIDTH and a != b else 0
    one, other = a[begin : begin + WIDTH], b[begin : begin + WIDTH]
    left: list[tuple[str, bool]] = []
    right: list[tuple[str, bool]] = []
    for kind, i, i_end, j, j_end in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        left += [(one[i:i_end], kind != "equal")] * (i_end > i)
        right += [(other[j:j_end], kind != "equal")] * (j_end > j)
    return (
        _cut(left, begin > 0, begin + WIDTH < len(a)),
        _cut(right, begin > 0, begin + WIDTH < len(b)),
    )


def _whole(line: str | None) -> Pieces | None:
    return None if line is None else _cut([(line[:WIDTH], True)], False, len(line) > WIDTH)


def _cut(pieces: Sequence[tuple[str, bool]], before: bool, after: bool) -> Pieces:
    """Pieces with an ellipsis where the line goes on."""
    return (*((("…", False),) if before else ()), *pieces, *((("…", False),) if after else ()))
