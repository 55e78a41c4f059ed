"""64-bit hashes of any stretch of a text from one pass over it, in NumPy, the same in every process and on every machine.

A stretch's hash is a polynomial in an odd base modulo 2**64 over a random number for each letter. Prefix sums give the
hash of each stretch in a multiplication: an odd base has an inverse. Two different stretches of code collide with a
chance of about 2**-63; strings made to collide exist, and cost a wrong duplicate at worst.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

UInt64s = np.ndarray[Any, np.dtype[np.uint64]]
UInt32s = np.ndarray[Any, np.dtype[np.uint32]]
Int64s = np.ndarray[Any, np.dtype[np.int64]]
Codes = np.ndarray[Any, Any]  # uint8 where every letter is ASCII, else uint32

_BATCH = 1 << 16  # letters hashed at a time: the working arrays stay in a core's second cache (measured: 160 MB/s)


def constants(name: str, count: int) -> UInt64s:
    """`count` fixed numbers that look random, by name: no generator whose stream a release may change."""
    digests = (hashlib.blake2b(b"%s %d" % (name.encode(), number), digest_size=8).digest() for number in range(count))
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


@functools.cache
def _letters() -> UInt64s:
    return constants("letter", 128)


@functools.cache
def _powers(count: int) -> tuple[UInt64s, UInt64s]:
    """Powers 0 … count - 1 of the base, and of its inverse."""
    base = int(constants("base", 1)[0]) | 1
    inverse = pow(base, -1, 1 << 64)
    powers = []
    for factor in (base, inverse):
        factors = np.full(count, factor, np.uint64)
        factors[0] = 1
        powers.append(np.multiply.accumulate(factors))
    return powers[0], powers[1]


def scattered(numbers: UInt64s) -> UInt64s:
    """Each number's bits spread over all 64, one to one (the finalizer of MurmurHash3)."""
    mixed = numbers ^ (numbers >> np.uint64(33))
    mixed *= np.uint64(0xFF51AFD7ED558CCD)
    mixed ^= mixed >> np.uint64(33)
    mixed *= np.uint64(0xC4CEB9FE1A85EC53)
    mixed ^= mixed >> np.uint64(33)
    return mixed


def code_points(text: str) -> Codes:
    """The characters of a text as numbers."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


class PrefixHash:
    """Hashes of the stretches of one text."""

    def __init__(self, codes: Codes) -> None:
        room = 1 << max(16, len(codes).bit_length())  # a power of two, so that few tables of powers are kept
        powers, self._inverse = _powers(room)
        if codes.dtype == np.uint8:
            values = _letters()[codes]
        else:
            values = np.where(codes < 128, _letters()[np.minimum(codes, 127)], scattered(codes.astype(np.uint64)))
        values *= powers[: len(codes)]
        self._sums = np.empty(len(codes) + 1, np.uint64)
        self._sums[0] = 0
        np.cumsum(values, out=self._sums[1:])

    def of(self, starts: Int64s, ends: Int64s) -> UInt64s:
        """The hash of codes[start:end] for each pair; an empty stretch has 0."""
        return (self._sums[ends] - self._sums[starts]) * self._inverse[starts]

    def windows(self, width: int) -> UInt64s:
        """The hash of codes[i : i + width] for every i."""
        if len(self._sums) <= width:
            return np.empty(0, np.uint64)
        found = self._sums[width:] - self._sums[:-width]
        found *= self._inverse[: len(found)]
        return found


def in_sequence(hashes: UInt64s, n: int) -> UInt64s:
    """The hash of every n consecutive hashes: hashes[i : i + n] for each i; none where there are fewer."""
    if len(hashes) < n:
        return np.empty(0, np.uint64)
    factor = constants("sequence", 1)[0] | np.uint64(1)
    found = hashes[: len(hashes) - n + 1].copy()
    for offset in range(1, n):
        found *= factor
        found += hashes[offset : len(hashes) - n + 1 + offset]
    return found


def batches(texts: Sequence[str], letters: int = _BATCH) -> Iterator[tuple[int, Sequence[str]]]:
    """Consecutive texts of about `letters` characters together: (place of the first, texts)."""
    begin = size = 0
    for place, text in enumerate(texts):
        if place > begin and size + len(text) > letters:
            yield begin, texts[begin:place]
            begin, size = place, 0
        size += len(text) + 1
    if begin < len(texts):
        yield begin, texts[begin:]
