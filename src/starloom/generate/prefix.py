"""The backend's slots: who has one, and what ended requests left behind for prompts that begin as theirs did.

A slot of an ended request is kept, the least recently used being freed first, so that memory is bounded: by the ids that
are kept and by the number of slots. A prompt that goes on from the whole of a kept sequence takes its slot over; one that
shares only a beginning gets a copy of that.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from starloom.generate.protocol import Backend

LEAST = 16  # ids: a shorter beginning is computed sooner than it is found and copied (our choice)
MOST_KEPT = 32  # slots of ended requests, for a buffer of few ids takes the memory of more (our choice)

Tokens = npt.NDArray[np.int32]


def common(one: Tokens, other: Tokens) -> int:
    """Length of the longest common prefix."""
    length = min(len(one), len(other))
    differs = one[:length] != other[:length]
    first = int(differs.argmax()) if length else 0
    return first if length and differs[first] else length


class Slots:
    """Opens slots that already hold as much of a sequence as any other slot does, and keeps those that are closed."""

    def __init__(self, backend: Backend, kept_tokens: int, least: int = LEAST) -> None:
        self._backend = backend
        self._kept_tokens = kept_tokens
        self.least = least
        self._kept: OrderedDict[int, Tokens] = OrderedDict()  # least recently used first
        self._free: list[int] = []
        self._made = 0

    @property
    def tokens(self) -> int:
        """Ids that are kept of ended requests."""
        return sum(map(len, self._kept.values()))

    def open(self, ids: Sequence[int], usable: int, running: Iterable[tuple[int, Sequence[int]]]) -> tuple[int, int]:
        """A slot for a sequence, and how many of its first ids the slot holds, at most `usable`.

        `running` are the slots in use, each with the ids that it holds.
        """
        wanted = np.array(ids[:usable], dtype=np.int32)
        source, length = None, self.least - 1
        if usable >= self.least:
            held = ((slot, np.array(others[:usable], dtype=np.int32)) for slot, others in running)
            for slot, tokens in (*self._kept.items(), *held):
                if (shared := common(wanted, tokens)) > length:
                    source, length = slot, shared
        if source is None:
            return self._number(), 0
        if source in self._kept:
            if len(self._kept[source]) == length:
                del self._kept[source]
                return source, length
            self._kept.move_to_end(source)
        slot = self._number()
        try:
            self._backend.share(source, slot, length)
        except BaseException:
            self.discard(slot)
            raise
        return slot, length

    def close(self, slot: int, ids: Sequence[int]) -> None:
        """The request is through; the slot holds these ids."""
        if not self.least <= len(ids) <= self._kept_tokens:
            self.discard(slot)
            return
        tokens = np.array(ids, dtype=np.int32)
        for other, held in [*self._kept.items()]:
            if common(tokens, held) == len(held):  # what it holds, this one holds too
                self._drop(other)
        self._kept[slot] = tokens
        while self.tokens > self._kept_tokens or len(self._kept) > MOST_KEPT:
            self._drop(next(iter(self._kept)))

    def discard(self, slot: int) -> None:
        """What the slot holds is of no use."""
        self._backend.free(slot)
        heapq.heappush(self._free, slot)

    def clear(self) -> None:
        """Give back the memory of ended requests."""
        for slot in [*self._kept]:
            self._drop(slot)

    def _drop(self, slot: int) -> None:
        del self._kept[slot]
        self.discard(slot)

    def _number(self) -> int:
        if self._free:
            return heapq.heappop(self._free)
        self._made += 1
        return self._made - 1
