"""Many strings searched for in many texts at once, case ignored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from starloom.corpus.code_tokens import is_member
from starloom.corpus.prefix_hash import Int64s, PrefixHash, UInt64s, code_points

_WIDTH: Final = 16  # characters of the window by which a string is recognized; our choice
_ROOM: Final = 5  # bits of the first look-up beyond the number of hashes: one stranger of 32 passes it


class Known:
    """Membership of hashes in a set, most strangers turned away by a table of bits."""

    def __init__(self, hashes: UInt64s) -> None:
        self.hashes = np.unique(hashes)
        bits = min(max(len(self.hashes).bit_length() + _ROOM, 16), 26)
        self._shift = np.uint64(64 - bits)
        self._bits = np.zeros(1 << bits, np.bool_)
        self._bits[self.hashes >> self._shift] = True

    def places(self, hashes: UInt64s) -> Int64s:
        """Where known hashes stand."""
        maybe = np.flatnonzero(self._bits[hashes >> self._shift])
        return np.asarray(maybe[is_member(hashes[maybe], self.hashes)])


class Substrings:
    """Finds any of many strings, case ignored: each by its most varied window of 16 characters, then compared whole."""

    def __init__(self, strings: Mapping[str, Iterable[int]]) -> None:
        self._by_window: dict[int, list[tuple[int, str, tuple[int, ...]]]] = defaultdict(list)
        self._short: list[tuple[str, tuple[int, ...]]] = []
        for string, problems in strings.items():
            wanted = string.lower()
            if len(wanted) < _WIDTH:
                self._short.append((wanted, tuple(problems)))
                continue
            offset = max(range(0, len(wanted) - _WIDTH + 1, 5)[:40], key=lambda at: len(set(wanted[at : at + _WIDTH])))
            (window,) = PrefixHash(code_points(wanted[offset : offset + _WIDTH])).windows(_WIDTH).tolist()
            self._by_window[window].append((offset, wanted, tuple(problems)))
        self._known = Known(np.array(sorted(self._by_window), np.uint64))

    def find(self, texts: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
        """(document, problem, start, end) of the first place of each string in each document."""
        lowered = [text.lower() for text in texts]
        joined = "\n".join(lowered)
        begins = np.concatenate([[0], np.cumsum([len(text) + 1 for text in lowered])])
        windows = PrefixHash(code_points(joined)).windows(_WIDTH)
        seen = set()
        for place in self._known.places(windows).tolist():
            document = int(np.searchsorted(begins, place, side="right")) - 1
            for offset, wanted, problems in self._by_window[int(windows[place])]:
                start = place - offset - int(begins[document])
                if start >= 0 and (document, wanted) not in seen and lowered[document].startswith(wanted, start):
                    seen.add((document, wanted))
                    for problem in problems:
                        yield document, problem, *unlowered(texts[document], lowered[document], start, len(wanted))
        for wanted, problems in self._short:
            for document, text in enumerate(lowered):
                if (start := text.find(wanted)) >= 0:
                    for problem in problems:
                        yield document, problem, *unlowered(texts[document], text, start, len(wanted))


def unlowered(text: str, lowered: str, start: int, length: int) -> tuple[int, int]:
    """A range of a lowered text as a range of the text: İ alone becomes two characters."""
    if len(text) == len(lowered):
        return start, start + length
    at = np.concatenate([[0], np.cumsum([len(letter.lower()) for letter in text])])
    return int(np.searchsorted(at, start, side="right")) - 1, int(np.searchsorted(at, start + length))
