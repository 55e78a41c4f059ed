"""Places in source files where a person would ask for code: a function's body, a line or two inside it.

Found by lines and indentation alone, so that one rule serves every language whose functions are indented blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from starloom.records import uniform

# Sizes of what is asked for; our choice: enough to judge by eye, and all of it in a context of 512 tokens.
HEAD_LINES = 6  # of a signature
DOC_LINES = 12  # of a description under it
BODY_LINES = (3, 16)  # non-blank lines
LONGEST_LINE = 120  # characters
HOLE_CHARACTERS = 10  # of a line that is worth guessing
AROUND_HOLE = 2  # lines of the body that stay on each side of a hole

_HEAD = re.compile(
    r"^(?P<indent>[ \t]*)(?:(?:async|export|default|public|private|protected|static|final|inline|pub|unsafe|const)\s+)*"
    r"(?:(?:def|function|func|fn|fun|sub)\b[^=;]*\(|(?!if|for|while|switch|catch|else|return|new)[\w<>\[\],.:&*]+\s[\w\s<>\[\],.:&*]*\([^;]*\)[^;]*\{$)"
)
_QUOTES = re.compile(r"^[ \t]*[rRuUbB]{0,2}(\"\"\"|''')")
_COMMENT = ("#", "//", "/*", "*", "--", '"', "'")


@dataclass(frozen=True, slots=True)
class Function:
    """A function as lines: what is given (signature, description) and what follows (body).

    A line break belongs to the line that it begins: byte-level BPE joins it with the indentation behind it, so that a
    prompt that ended in one would be a text that no training saw.
    """

    line: int  # of the signature, counted from 1
    indent: str
    head: tuple[str, ...]
    body: tuple[str, ...]
    described: bool

    @property
    def given(self) -> str:
        return "\n".join(self.head)

    @property
    def rest(self) -> str:
        return _follow(self.body)


@dataclass(frozen=True, slots=True)
class Gap:
    """One or two lines inside a function, with what stands before and after them."""

    line: int
    prefix: str
    middle: str
    suffix: str


def functions(text: str) -> Iterator[Function]:
    """Every function of a text that is of a size to be asked for."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        found = _HEAD.match(line)
        if found is None:
            continue
        end = next(
            (n for n in range(number, min(number + HEAD_LINES, len(lines))) if lines[n].rstrip().endswith((":", "{"))),
            None,
        )
        if end is None:
            continue
        indent = found["indent"]
        stop = next((n for n in range(end + 1, len(lines)) if ends_block(lines[n], indent)), len(lines))
        body_start = _after_description(lines, end + 1, stop)
        body = lines[body_start:stop]
        while body and not body[-1].strip():
            body.pop()
        head = lines[number:body_start]
        filled = sum(1 for one in body if one.strip())
        if BODY_LINES[0] <= filled <= BODY_LINES[1] and max(map(len, [*head, *body])) <= LONGEST_LINE:
            yield Function(number + 1, indent, tuple(head), tuple(body), body_start > end + 1)


def ends_block(line: str, indent: str) -> bool:
    """Whether a line lies outside the block of a head that is indented so."""
    return bool(line.strip()) and not (line.startswith(indent) and line[len(indent) :][:1] in (" ", "\t"))


def within_block(text: str, indent: str) -> str:
    """How far a text that follows a head that is indented so belongs to its body: up to the first line outside."""
    lines = text.splitlines(keepends=True)  # the first goes on in a line of the head
    end = next((number for number, line in enumerate(lines[1:], 1) if ends_block(line, indent)), len(lines))
    return "".join(lines[:end])


def first_lines(text: str, line_breaks: int) -> str:
    """A text up to its next line break after so many."""
    return "\n".join(text.split("\n")[: line_breaks + 1])


def gap(function: Function, seed: int, *item: bytes | int | str) -> Gap | None:
    """One or two lines of the body, by chance; None where it has too few, or none that is worth guessing."""
    body = function.body

    def worth(number: int) -> bool:
        text = body[number].strip()
        return len(text) >= HOLE_CHARACTERS and not text.startswith(_COMMENT)

    places = [number for number in range(AROUND_HOLE, len(body) - AROUND_HOLE) if worth(number)]
    if not places:
        return None
    first = places[int(uniform(seed, "gap", *item) * len(places))]
    two = first + 1 in places and uniform(seed, "two lines", *item) < 0.5
    end = first + 1 + two
    before, middle, after = map(_follow, (body[:first], body[first:end], body[end:]))
    return Gap(function.line + len(function.head) + first, function.given + before, middle, after)


def _follow(lines: Sequence[str]) -> str:
    return "".join(f"\n{line}" for line in lines)


def _after_description(lines: list[str], start: int, stop: int) -> int:
    """The line behind a description in triple quotes that begins at `start`; `start` where there is none."""
    if start >= stop or (opened := _QUOTES.match(lines[start])) is None:
        return start
    quotes = opened[1]
    if lines[start].count(quotes) > 1:
        return start + 1
    end = next((n for n in range(start + 1, min(start + DOC_LINES, stop)) if quotes in lines[n]), None)
    return start if end is None else end + 1
