"""A packed sample cut at characters: the pieces as tokens that stay as they are and the little text that must be encoded.

The ids of a piece are those of encoding its whole text. Between two seams (`tokens/seams.py`) they are the sample's own,
so all that is encoded again lies between a cut, or an edge of the sample inside a document, and the nearest seam; where a
piece has no seam, that is the whole piece.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from starloom.tokens.bpe import Vocabulary

Ids = npt.NDArray[np.int64]


class Copy(NamedTuple):
    """Tokens [begin, end) of the sample as they are."""

    begin: int
    end: int


class Text(NamedTuple):
    """Characters to be encoded as one string, which begin so many bytes into a token of the sample."""

    text: str
    token: int
    offset: int


Piece = list[Copy | Text]


class Cut(NamedTuple):
    """A place in the sample: so many bytes into a token; 0 is before it."""

    token: int
    offset: int


class Sample:
    """A packed sample, and what is known of its tokens."""

    def __init__(self, ids: Ids, vocabulary: Vocabulary) -> None:
        """`ids` in one stretch of memory."""
        self.ids = ids
        self._vocabulary = vocabulary
        self._seams = vocabulary.seams
        self._view: memoryview[int] = ids.data  # gives Python's integers, at half the price of an array's
        self._broken: list[int] = self._seams.broken[ids].nonzero()[0].tolist()
        # Places to cut before the end of each token: characters that begin, and controls.
        self._units: memoryview[int] = self._seams.units[ids].cumsum().data

    def positions(self, control: int, begin: int = 0, end: int | None = None) -> list[int]:
        """Where a control stands among tokens [begin, end)."""
        found = (self.ids[begin:end] == control).nonzero()[0].tolist()
        return [begin + place for place in found] if begin else found

    def text_of(self, begin: int, end: int) -> tuple[int, int] | None:
        """The tokens of a fragment without those of half characters at its edges.

        None when it has no character, or bytes that are no UTF-8 elsewhere than at its edges.
        """
        if bisect_left(self._broken, begin) == bisect_left(self._broken, end):
            mask = self._vocabulary.control_mask
            return (begin, end) if not mask[self._view[begin]] or not mask[self.ids[begin:end]].all() else None
        controls = self._vocabulary.control_mask[self.ids[begin:end]]
        low, high, empty = begin, end, True
        first = begin
        for stop in [*(controls.nonzero()[0] + begin).tolist(), end]:
            if first < stop:
                run = self.ids[first:stop].tolist()
                boundaries = [0, *np.cumsum(self._vocabulary.byte_lengths[run]).tolist()]
                data = self._vocabulary.bytes_of(run)
                head, tail = whole_characters(data, boundaries)
                if first == begin:
                    low = begin + head
                elif head > 0:
                    return None
                if stop == end:
                    high = first + tail
                elif tail < len(run):
                    return None
                try:
                    data[boundaries[head] : boundaries[tail]].decode()
                except UnicodeDecodeError:
                    return None
                empty = empty and head == tail
            first = stop + 1
        return None if empty else (low, high)

    def places(self, begin: int, end: int) -> tuple[int, int]:
        """The first place to cut of tokens [begin, end), and how many follow, the one at the end among them."""
        first = self._units[begin - 1] if begin else 0
        return first, self._units[end - 1] - first + 1

    def cut(self, unit: int, end: int) -> Cut:
        """A place to cut by its number; what lies behind tokens up to `end` is the cut at their end."""
        token = bisect_right(self._units, unit, 0, end)
        if token == end:
            return Cut(end, 0)
        data = self._vocabulary.bytes_of((self._view[token],))
        inside = unit - (self._units[token - 1] if token else 0)
        if inside == 0 and (not data or data[0] & 0xC0 != 0x80):
            return Cut(token, 0)
        return Cut(token, [offset for offset, byte in enumerate(data) if byte & 0xC0 != 0x80][inside])

    def piece(self, begin: Cut, end: Cut) -> Piece:
        """What lies between two cuts."""
        if begin == end:
            return []
        first = self._seams.nearest(self._view, begin.token + (begin.offset > 0), end.token, 1)
        if first is None:
            return [self._text(begin, end)]
        last = self._seams.nearest(self._view, end.token, first, -1)
        assert last is not None, "the first one, if no other"
        found: Piece = []
        if begin != (first, 0):
            found.append(self._text(begin, Cut(first, 0)))
        if first < last:
            found.append(Copy(first, last))
        if end != (last, 0):
            found.append(self._text(Cut(last, 0), end))
        return found

    def _text(self, begin: Cut, end: Cut) -> Text:
        bytes_of = self._vocabulary.bytes_of
        data = bytes_of(self._view[begin.token : end.token])
        if end.offset:
            data += bytes_of((self._view[end.token],))[: end.offset]
        return Text(data[begin.offset :].decode(), *begin)


def whole_characters(data: bytes, boundaries: Sequence[int]) -> tuple[int, int]:
    """First and last token boundary between which no character is cut in two; (n, n) when there is no such text.

    `boundaries` are the byte offsets of the tokens and of their end.
    """
    last = len(boundaries) - 1

    def clean(offset: int) -> bool:
        return data[offset] & 0xC0 != 0x80 if offset < len(data) else _ends_whole(data)

    low = next((place for place, offset in enumerate(boundaries) if clean(offset)), last)
    high = next((place for place in range(last, low, -1) if clean(boundaries[place])), low)
    return low, high


def _ends_whole(data: bytes) -> bool:
    """Whether the last character has all its bytes."""
    lead = len(data) - 1
    while lead > 0 and data[lead] & 0xC0 == 0x80 and len(data) - lead < 4:
        lead -= 1
    first = data[lead]
    needed = 1 if first < 0x80 else 2 if first >> 5 == 0b110 else 3 if first >> 4 == 0b1110 else 4
    return len(data) - lead >= needed
