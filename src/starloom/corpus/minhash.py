"""MinHash signatures and the bands that find similar ones (Broder 1997; Indyk and Motwani 1998)."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from starloom.corpus.prefix_hash import UInt32s, UInt64s, constants, scattered

_BLOCK = 512  # shingles at a time: permutations × shingles stay in a core's second cache


@functools.cache
def permutations(count: int) -> tuple[UInt32s, UInt32s]:
    """Factors (odd) and summands of `count` permutations h → a·h + b of the 32-bit numbers.

    BigCode multiplies modulo 2**61 - 1; modulo 2**32 is a permutation too, and costs an eleventh in NumPy.
    """
    numbers = constants("permutation", count)
    return (numbers >> np.uint64(32)).astype(np.uint32) | np.uint32(1), numbers.astype(np.uint32)


def signature(shingles: UInt64s, count: int) -> UInt32s:
    """[count]: the least value that each permutation gives to a shingle of the set. The set is not empty."""
    factors, summands = permutations(count)
    hashes = (scattered(shingles) >> np.uint64(32)).astype(np.uint32)
    least = np.full(count, np.iinfo(np.uint32).max, np.uint32)
    room = np.empty((count, min(_BLOCK, len(hashes))), np.uint32)
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK]
        values = room[:, : len(block)]
        np.multiply(factors[:, None], block, out=values)
        np.add(values, summands[:, None], out=values)
        np.minimum(least, values.min(axis=1), out=least)
    return least


def chance_to_meet(similarity: float, bands: int, rows: int) -> float:
    """That two sets of this Jaccard similarity agree on all rows of a band: 1 - (1 - s**rows)**bands."""
    return 1 - (1 - similarity**rows) ** bands


def bands_for(threshold: float, permutations: int, recall: float = 0.99) -> int:
    """The fewest bands with which a pair at the threshold is still found with this chance.

    Published tools weigh false positives against false negatives and find such a pair with chance 0.5; here
    candidates are verified, so that a false positive costs time only.
    """
    rows = max(
        (
            rows
            for rows in range(1, permutations + 1)
            if chance_to_meet(threshold, permutations // rows, rows) >= recall
        ),
        default=1,
    )
    return permutations // rows


def band_keys(signatures: UInt32s, bands: int) -> UInt64s:
    """[bands, documents]: a 64-bit key of each band of [documents, permutations]; permutations left over are unused."""
    documents, count = signatures.shape
    rows = count // bands
    cut = signatures[:, : bands * rows].reshape(documents, bands, rows).astype(np.uint64)
    keys = (cut * (constants("row", rows) | np.uint64(1))).sum(axis=2, dtype=np.uint64)
    return np.ascontiguousarray(scattered(keys).T)


def agreement(one: UInt32s, other: UInt32s) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Estimated Jaccard similarity of pairs of signatures: the share of permutations with the same least value."""
    return np.asarray((one == other).mean(axis=1))


def surely_below(threshold: float, permutations: int) -> float:
    """An estimate under this belongs to a pair under the threshold, but for a chance of 3e-5 (four deviations)."""
    return threshold - 4 * math.sqrt(threshold * (1 - threshold) / permutations)


def candidates(keys: Iterable[UInt64s], documents: int, largest: int, reach: int) -> tuple[UInt64s, int]:
    """Pairs of documents that share a band, as codes first · documents + second, sorted; and how many buckets were large.

    `keys` holds one array over the documents for each band. In a bucket of more than `largest` documents each is
    paired with the `reach` after it only, in an order by chance that is another in each band: so 50,000 files of one
    kind cost 50,000 · reach pairs for a band, and stay joined whichever of them are dropped.
    """
    found = np.empty(0, np.uint64)
    large = 0
    for number, band in enumerate(keys):
        order = np.argsort(band, kind="stable")
        changes = np.flatnonzero(np.diff(band[order])) + 1
        starts = np.concatenate([[0], changes])
        sizes = np.diff(np.concatenate([starts, [documents]]))
        large += int(np.count_nonzero(sizes > largest))
        pairs = [found]
        for size in np.unique(sizes[sizes > 1]).tolist():
            members = order[starts[sizes == size][:, None] + np.arange(size)]  # [buckets, size], each row ascending
            if size > largest:
                by_chance = np.argsort(
                    scattered(members.astype(np.uint64) + (np.uint64(number) << np.uint64(40))), axis=1
                )
                members = np.take_along_axis(members, by_chance, axis=1)
            for distance in range(1, min(size, reach + 1) if size > largest else size):
                one, other = members[:, :-distance].ravel(), members[:, distance:].ravel()
                first, second = np.minimum(one, other), np.maximum(one, other)
                pairs.append(first.astype(np.uint64) * np.uint64(documents) + second.astype(np.uint64))
        if len(pairs) > 1:
            found = np.unique(np.concatenate(pairs))
    return found, large
