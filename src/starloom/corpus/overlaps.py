"""References of which a document holds most n-grams, close together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from starloom.corpus.prefix_hash import Int64s, UInt64s
from starloom.corpus.substrings import Known

ALL_BELOW: Final = 17  # n-grams that must be there, or all of a reference that has fewer; our choice
_MANY: Final = 4096  # places of a reference in one document that are looked at; our choice


@dataclass(frozen=True, slots=True)
class Reference:
    """One form of a problem as a set of n-grams."""

    problem: int
    grams: frozenset[int]


def references(problems: Sequence[int], grams: UInt64s, bounds: Int64s, n: int) -> Iterator[Reference]:
    """A reference for each document's n-grams."""
    for problem, begin, end in zip(problems, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        yield Reference(problem, frozenset(grams[begin : max(end - n + 1, begin)].tolist()))


class Overlaps:
    """Finds references whose n-grams a document holds, `share` of them or more, close together."""

    def __init__(self, references: Sequence[Reference], share: float, least: int) -> None:
        self._references = list(dict.fromkeys(one for one in references if len(one.grams) >= least))
        self._share = share
        self._of: dict[int, list[int]] = defaultdict(list)
        for number, reference in enumerate(self._references):
            for gram in reference.grams:
                self._of[gram].append(number)
        self._known = Known(np.array(sorted(self._of), np.uint64))

    def find(self, grams: UInt64s, bounds: Int64s, n: int) -> Iterator[tuple[int, int, int, int, float]]:
        """(document, problem, first n-gram, last n-gram, share), the best place of each; `bounds` of the documents."""
        places = self._known.places(grams)
        documents = np.searchsorted(bounds, places, side="right") - 1
        whole = places + n <= bounds[documents + 1]  # an n-gram across two documents is none
        for document in np.unique(documents[whole]).tolist():
            mine = places[whole & (documents == document)].tolist()
            at: dict[int, list[int]] = defaultdict(list)
            for place in mine:
                for number in self._of[int(grams[place])]:
                    at[number].append(place)
            best: dict[int, tuple[int, float, int, int]] = {}  # of a problem's forms the one most of which is there
            for number, where in at.items():
                reference = self._references[number]
                needed = max(self._share * len(reference.grams), min(len(reference.grams), ALL_BELOW))
                if len(where) >= needed:
                    count, first, last = _densest(where, grams, 2 * (len(reference.grams) + n))
                    if count >= needed:
                        this = (count, count / len(reference.grams), first, last)
                        best[reference.problem] = max(best.get(reference.problem, this), this)
            for problem, (_, score, first, last) in sorted(best.items()):
                yield document, problem, first, last, score


def _densest(places: Sequence[int], grams: UInt64s, width: int) -> tuple[int, int, int]:
    """(distinct n-grams, first place, last place) of the window of `width` places with the most distinct ones."""
    inside: Counter[int] = Counter()
    begin, best = 0, (0, 0, 0)
    for place in places:
        inside[int(grams[place])] += 1
        while place - places[begin] > width:
            gone = int(grams[places[begin]])
            inside[gone] -= 1
            if not inside[gone]:
                del inside[gone]
            begin += 1
        if len(inside) > best[0]:
            best = (len(inside), places[begin], place)
    return best
