"""Diffs in hunks, every line of them led back to the old or to the new file."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

from starloom.corpus.traced import Parts, Traced

Block = tuple[int, int, int, int]  # old lines [0, 1) became new lines [2, 3)


def changed_lines(before: str, after: str) -> tuple[int, int, int]:
    """(first line that differs, end of the changed lines of the old text, of the new one): the smallest such stretch."""
    old, new = before.split("\n"), after.split("\n")
    most = min(len(old), len(new))
    start = 0
    while start < most and old[start] == new[start]:
        start += 1
    same = 0
    while same < most - start and old[-1 - same] == new[-1 - same]:
        same += 1
    return start, len(old) - same, len(new) - same


def lines_between(text: str, start: int, end: int) -> tuple[int, int]:
    """Characters of lines [start, end), without the last one's line feed; numbers beyond the text are its bounds."""
    lines = text.split("\n")
    begin, stop = max(start, 0), min(max(end, 0), len(lines))
    first = sum(len(line) + 1 for line in lines[:begin])
    size = sum(len(line) + 1 for line in lines[begin:stop])
    return min(first, len(text)), min(first + max(size - 1, 0), len(text))


def blocks(before: str, after: str) -> list[Block]:
    """The changed stretches of lines, in order."""
    start, old_end, new_end = changed_lines(before, after)
    old, new = before.split("\n")[start:old_end], after.split("\n")[start:new_end]
    matcher = SequenceMatcher(None, old, new)
    return [(a + start, b + start, c + start, d + start) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal"]


def grouped(found: list[Block], context: int) -> Iterator[list[Block]]:
    """Blocks with at most `context` lines between two, together."""
    group: list[Block] = []
    for block in found:
        if group and block[0] - context > group[-1][1]:
            yield group
            group = []
        group.append(block)
    if group:
        yield group


def add_hunks(
    parts: Parts,
    before: Traced,
    after: Traced,
    names: tuple[str, str],
    source: bytes,
    *,
    context: int,
    first_line: int,
) -> None:
    """Each group of changes behind `pull_request_diff_hunk`: `@@ -A,B +C,D @@`, then its lines with ` `, `-` or `+`.

    Lines are counted from 1 at the old text's line `first_line`, where what is shown of it begins.
    """
    groups = list(grouped(blocks(before.text, after.text), context))
    count = before.text.count("\n") + (not before.text.endswith("\n"))
    floor = first_line  # no line is shown twice
    for number, group in enumerate(groups):
        ceiling = groups[number + 1][0][0] if number + 1 < len(groups) else count
        above = min(context, max(group[0][0] - floor, 0))
        below = min(context, max(ceiling - group[-1][1], 0))
        old = (group[0][0] - above, group[-1][1] + below)
        new = (group[0][2] - above, group[-1][3] + below)
        floor = old[1]
        said = (old[0] - first_line + 1, old[1] - old[0], new[0] - first_line + 1, new[1] - new[0])
        parts.control("pull_request_diff_hunk", "@@ -{},{} +{},{} @@".format(*said))
        at = old[0]
        for block in group:
            _lines(parts, before, names[0], source, " ", at, block[0])
            _lines(parts, before, names[0], source, "-", block[0], block[1])
            _lines(parts, after, names[1], source, "+", block[2], block[3])
            at = block[1]
        _lines(parts, before, names[0], source, " ", at, old[1])


def _lines(parts: Parts, text: Traced, name: str, source: bytes, mark: str, start: int, end: int) -> None:
    """Lines [start, end), each on its own behind a mark."""
    if start >= end:
        return
    piece = text.cut(*lines_between(text.text, start, end))
    places = [0, *(at + 1 for at, letter in enumerate(piece.text) if letter == "\n")]
    parts.insert("\n")
    if not piece.text:
        parts.insert(mark)
        return
    parts.add(None, piece.replaced([(at, at, mark) for at in places]), source, name)
