"""Boundaries between two tokens at which text may be cut: each side, encoded alone, keeps the ids that it has.

BigCode's pre-tokenization sets digits apart one by one and then scans each run between them from left to right; where a
match begins depends on no byte before it, and none looks further ahead than one character behind a run of space. So a
boundary that every scan stops at, whatever lies beyond it, is a seam, and tokens know enough of it: the last byte on its
left and the first on its right. Cutting at seams alone, a cut elsewhere costs the encoding of what lies between its two
nearest ones, some ten bytes in code.

What is told is never wrong but not complete: a boundary beside characters outside ASCII, or between two spaces, two
letters or two signs, is called none. Ids must be those of whole texts between controls, as `Pack` writes them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_UNKNOWN, _WIDE, _SPACE, _LETTER, _SIGN, _QUOTE, _DIGIT, _CONTROL = range(8)
# White space outside ASCII, as any version of Unicode had it. UTF-8 that ends in another byte than these do is none.
_WIDE_SPACES = "\x85\xa0\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_ENDS_OF_SPACES = frozenset(space.encode()[-1] for space in _WIDE_SPACES)


def _class_of(byte: int) -> int:
    character = chr(byte)
    if byte >= 0x80:
        return _UNKNOWN if byte in _ENDS_OF_SPACES or byte >= 0xC0 else _WIDE
    if character in " \t\n\r":
        return _SPACE
    if character.isalpha():
        return _LETTER
    if character.isdigit():
        return _DIGIT
    if character == "'":
        return _QUOTE  # begins 's, 't, 're, …: one match with letters behind it
    return _SIGN if character.isprintable() else _UNKNOWN


def _is_seam(left: int, right: int) -> bool:
    if _CONTROL in (left, right) or _DIGIT in (left, right):
        return True
    if right == _SPACE:
        return left in (_LETTER, _SIGN, _QUOTE, _WIDE)  # no match has space behind something else
    if left == _LETTER:
        return right in (_SIGN, _QUOTE)  # nor a sign behind a letter
    return left == _SIGN and right == _LETTER  # nor a letter behind a sign other than a quote


_CLASSES = bytes(_class_of(byte) for byte in range(256))
SEAM = tuple(_is_seam(pair >> 3, pair & 7) for pair in range(64))


class Seams:
    """What the tokens of a vocabulary say about their edges; `SEAM[left[a] | right[b]]` is whether a seam lies between."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        """From the bytes of each id; controls have none."""
        self.left = bytes((_CLASSES[token[-1]] if token else _CONTROL) << 3 for token in token_bytes)
        self.right = bytes(_CLASSES[token[0]] if token else _CONTROL for token in token_bytes)
        # Characters that begin in a token; a control is one more place to cut, as a character is.
        units = [sum(byte & 0xC0 != 0x80 for byte in token) if token else 1 for token in token_bytes]
        self.units: npt.NDArray[np.int64] = np.array(units, np.int64)
        self.broken: npt.NDArray[np.bool_] = np.array([not _is_text(token) for token in token_bytes], np.bool_)
        self.units.flags.writeable = self.broken.flags.writeable = False

    def nearest(self, ids: memoryview[int], place: int, last: int, step: int) -> int | None:
        """The first boundary from `place` to `last` that is a seam. At either end of the ids nobody knows what lies beyond."""
        left, right, size = self.left, self.right, len(ids)
        for at in range(place, last + step, step):
            before = left[ids[at - 1]] if at else _UNKNOWN << 3
            if SEAM[before | (right[ids[at]] if at < size else _UNKNOWN)]:
                return at
        return None


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
