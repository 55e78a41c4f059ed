"""A row of `Mix`: what is read as text, where its controls stand, and the way from a rendered byte to the original.

All offsets are bytes of UTF-8. A row's rendered text is its parts' texts one after the other; a control stands before
its part's text and has no bytes. Within a part, bytes outside the edits are copied one to one from a field of the
source; an edit says which bytes took the place of which. What a part without a source holds was inserted.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

from starloom.errors import DamagedError


@dataclass(frozen=True, slots=True)
class Part:
    """Text that follows a control (or nothing), from a field of a source (or inserted)."""

    control: str | None
    text: str
    source: bytes | None = None
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes [start, end) of a part's text stand for bytes [source_start, source_end) of its source's field."""

    part: int
    start: int
    end: int
    source_start: int
    source_end: int


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes [start, end) of a source's field. `copied` tells bytes that were taken over from a region that an edit
    replaced as a whole."""

    source: bytes
    field: str
    start: int
    end: int
    copied: bool


@dataclass(frozen=True, slots=True)
class Run:
    """A control (or none) and all the text up to the next one: what is encoded as one string."""

    control: str | None
    text: str
    start: int  # rendered byte offset
    parts: range


_MARK = "redacted_"  # controls so called stand for the bytes that they replaced


@dataclass(frozen=True)
class Rendered:
    """One row of `Mix`. Raises DamagedError when its edits do not fit its parts."""

    parts: tuple[Part, ...]
    edits: tuple[Edit, ...] = ()

    def __post_init__(self) -> None:
        for edit in self.edits:
            if not 0 <= edit.part < len(self.parts):
                raise DamagedError(f"a row has {edit}, but {len(self.parts)} parts; build its mix again")
        for number, edits in self._edits_of.items():
            size = self.offsets[number + 1] - self.offsets[number]
            sound = self.parts[number].source is not None and self.parts[number].field is not None
            sound = sound and all(
                0 <= one.start <= one.end and 0 <= one.source_start <= one.source_end for one in edits
            )
            sound = sound and edits[0].start <= edits[0].source_start and edits[-1].end <= size
            sound = sound and all(
                one.end <= two.start and two.start - one.end == two.source_start - one.source_end
                for one, two in pairwise(edits)
            )
            if not sound:
                raise DamagedError(f"a row has edits {edits} that do not fit its part {number}; build its mix again")

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Rendered:
        """From the columns `parts` and `edits` of a row as Python values."""
        parts = tuple(Part(one["control"], one["text"], one["source"], one["field"]) for one in row["parts"])
        return cls(parts, tuple(Edit(**one) for one in row["edits"]))

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Rendered byte offset of each part, and the end of the last."""
        return tuple(accumulate((len(part.text.encode()) for part in self.parts), initial=0))

    @cached_property
    def _edits_of(self) -> dict[int, list[Edit]]:
        grouped: dict[int, list[Edit]] = {}
        for edit in self.edits:
            grouped.setdefault(edit.part, []).append(edit)
        return {number: sorted(edits, key=lambda one: (one.start, one.end)) for number, edits in grouped.items()}

    @property
    def text(self) -> str:
        """The rendered text."""
        return "".join(part.text for part in self.parts)

    def runs(self) -> Iterator[Run]:
        """Controls and the text up to the next, in order; text before the first control is a run without one."""
        starts = [number for number, part in enumerate(self.parts) if part.control is not None or number == 0]
        for begin, end in pairwise([*starts, len(self.parts)]):
            text = "".join(part.text for part in self.parts[begin:end])
            yield Run(self.parts[begin].control, text, self.offsets[begin], range(begin, end))

    def with_marks(self, marks: Mapping[str, str]) -> Rendered:
        """The row for a family without some redaction marks: each becomes text in front of its part's own.

        The mark then stands for what the control stood for: the edit of no bytes at the part's start.
        """
        if not any(part.control in marks for part in self.parts):
            return self
        parts, edits = [], []
        for number, part in enumerate(self.parts):
            own = self._edits_of.get(number, [])
            if part.control is None or part.control not in marks:
                parts.append(part)
                edits.extend(own)
                continue
            mark = marks[part.control]
            size = len(mark.encode())
            parts.append(replace(part, control=None, text=mark + part.text))
            moved = [replace(one, start=one.start + size, end=one.end + size) for one in own]
            if own and own[0].start == own[0].end == 0:
                moved[0] = replace(own[0], end=size)
            elif part.source is not None:  # nothing was taken out here: the mark is an insertion
                first = own[0].source_start - own[0].start if own else 0
                moved.insert(0, Edit(number, 0, size, first, first))
            edits.extend(moved)
        return Rendered(tuple(parts), tuple(edits))

    def to_original(self, start: int, end: int) -> list[Span]:
        """Where the rendered bytes [start, end) come from, in their order; inserted bytes come from nowhere.

        Bytes that an edit put there lead to the whole region that the edit replaced, once.
        """
        if not 0 <= start <= end <= self.offsets[-1]:
            raise ValueError(f"bytes {start} to {end} of a rendered text of {self.offsets[-1]}")
        spans: list[Span] = []
        if start == end:
            return spans
        first = max(bisect.bisect_right(self.offsets, start) - 1, 0)
        for number in range(first, len(self.parts)):
            begin, stop = self.offsets[number], self.offsets[number + 1]
            if begin >= end:
                break
            part = self.parts[number]
            if part.source is not None and part.field is not None and stop > start:
                local = (max(start - begin, 0), min(end, stop) - begin)
                spans.extend(_to_field(part.source, part.field, self._edits_of.get(number, []), *local))
        return spans

    def marked(self, start: int, end: int) -> list[Span]:
        """What the redaction marks without bytes that stand at rendered bytes [start, end) took the place of."""
        spans = []
        for number, part in enumerate(self.parts):
            first = next(iter(self._edits_of.get(number, [])), None)
            inside = (part.control or "").startswith(_MARK) and start <= self.offsets[number] < end
            if inside and first is not None and first.end == 0 and part.source and part.field:
                spans.append(Span(part.source, part.field, first.source_start, first.source_end, False))
        return spans


def _to_field(source: bytes, field: str, edits: Sequence[Edit], start: int, end: int) -> Iterator[Span]:
    """Spans of a source's field for bytes [start, end) of one part's text."""
    done = 0  # bytes of the part's text that were dealt with
    origin = edits[0].source_start - edits[0].start if edits else 0  # where byte `done` comes from
    for edit in edits:
        begin, stop = max(start, done), min(end, edit.start)
        if begin < stop:
            yield Span(source, field, origin + begin - done, origin + stop - done, True)
        if edit.start < edit.end and start < edit.end and edit.start < end and edit.source_start < edit.source_end:
            yield Span(source, field, edit.source_start, edit.source_end, False)
        done, origin = edit.end, edit.source_end
    begin = max(start, done)
    if begin < end:
        yield Span(source, field, origin + begin - done, origin + end - done, True)


def replaced(text: str, changes: Iterable[tuple[int, int, str]], part: int) -> tuple[str, tuple[Edit, ...]]:
    """A field's text with byte ranges replaced, and the edits of the part that will hold it.

    `changes` are (start, end, replacement) in the field's bytes, in order and apart from one another.
    """
    data = text.encode()
    pieces, edits = [], []
    done = size = 0
    for start, end, replacement in changes:
        if not done <= start <= end <= len(data):
            raise ValueError(f"bytes {start} to {end} cannot be replaced in {len(data)} after those up to {done}")
        put = replacement.encode()
        pieces += [data[done:start], put]
        size += start - done
        edits.append(Edit(part, size, size + len(put), start, end))
        size += len(put)
        done = end
    pieces.append(data[done:])
    return b"".join(pieces).decode(), tuple(edits)
