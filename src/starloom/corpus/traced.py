"""Text that knows which characters of an original it was copied from, however it is cut, joined and written into.

Whatever is done to it, its copied stretches stay in the original's order; the rest was put there. `edits` says the same
in bytes, as a row of `Mix` keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from starloom.corpus.rendered import Edit, Part


class Piece(NamedTuple):
    """A stretch of text; copied from the original's character `start` on, or put there (None)."""

    text: str
    start: int | None


@dataclass(frozen=True, slots=True)
class Traced:
    """Pieces of one original, in its order, with what was put between them."""

    original: str
    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, text: str) -> Traced:
        """A whole text, untouched."""
        return cls(text, (Piece(text, 0),) if text else ())

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    def __len__(self) -> int:
        return sum(len(piece.text) for piece in self.pieces)

    def cut(self, start: int, end: int) -> Traced:
        """Characters [start, end) of the present text."""
        return Traced(self.original, tuple(self._between(start, end)))

    def _between(self, start: int, end: int) -> Iterator[Piece]:
        at = 0
        for text, origin in self.pieces:
            begin, stop = max(start - at, 0), min(end - at, len(text))
            if begin < stop:
                yield Piece(text[begin:stop], None if origin is None else origin + begin)
            at += len(text)

    def replaced(self, changes: Iterable[tuple[int, int, str]]) -> Traced:
        """With character ranges (start, end, replacement) of the present text replaced; they are in order and apart."""
        pieces: list[Piece] = []
        done = 0
        for start, end, put in changes:
            if not done <= start <= end:
                raise ValueError(f"characters {start} to {end} cannot be replaced after those up to {done}")
            pieces += self._between(done, start)
            if put:
                pieces.append(Piece(put, None))
            done = end
        pieces += self._between(done, len(self))
        return Traced(self.original, tuple(pieces))

    def substituted(self, pattern: re.Pattern[str], put: str | Callable[[re.Match[str]], str]) -> Traced:
        """With every match replaced."""
        changes = [
            (found.start(), found.end(), put if isinstance(put, str) else put(found))
            for found in pattern.finditer(self.text)
        ]
        return self.replaced(changes) if changes else self

    def stripped(self) -> Traced:
        """Without white space around it."""
        text = self.text
        start = len(text) - len(text.lstrip())
        return self.cut(start, max(start, len(text.rstrip())))

    def part(self, control: str | None, source: bytes, field: str, number: int) -> tuple[Part, list[Edit]]:
        """As the `number`-th part of a row, and its edits."""
        return Part(control, self.text, source, field), list(self._edits(number))

    def _edits(self, number: int) -> Iterator[Edit]:
        size = 0  # bytes of the text so far
        done = 0  # byte of the original up to which it was copied or passed over
        characters = 0  # the same in characters
        put = 0  # bytes put there since the last copied ones
        for text, origin in self.pieces:
            if origin is None:
                put += len(text.encode())
                continue
            assert origin >= characters, "copied stretches keep their order"
            skipped = len(self.original[characters:origin].encode())
            if put or skipped:
                yield Edit(number, size, size + put, done, done + skipped)
            own = len(text.encode())
            size += put + own
            done += skipped + own
            characters, put = origin + len(text), 0
        if put:
            yield Edit(number, size, size + put, done, done + len(self.original[characters:].encode()))


class Parts:
    """The parts of a row being laid out, and their edits."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.edits: list[Edit] = []

    def control(self, control: str, text: str = "") -> None:
        """A control, with text that nobody wrote."""
        self.parts.append(Part(control, text))

    def insert(self, text: str) -> None:
        """Text that nobody wrote."""
        if text:
            self.parts.append(Part(None, text))

    def add(self, control: str | None, text: Traced, source: bytes, field: str) -> None:
        """Text of a field, behind a control or as it goes on."""
        part, edits = text.part(control, source, field, len(self.parts))
        self.parts.append(part)
        self.edits += edits
