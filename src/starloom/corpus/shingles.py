"""A document as a set of shingles, n consecutive words each, in the units of the published de-duplications."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from starloom.corpus.prefix_hash import Codes, Int64s, PrefixHash, UInt64s, batches, code_points, constants, in_sequence
from starloom.native.alphanumeric import alphanumeric

Alphabet = Literal["ascii", "unicode"]
_ASCII_WORD = np.zeros(256, np.bool_)
_ASCII_WORD[np.frombuffer(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789", np.uint8)] = True


@dataclass(frozen=True, slots=True)
class Unit:
    """What a shingle is.

    Words are what one-character separators leave: `[^A-Za-z_0-9]` (ascii) or `\\W` (unicode). Between two separators
    lies an empty word, which counts where `keep_empty` says so. A document takes part when it has `min_tokens` words
    (with the empty ones that count) and `min_words` that are not empty.
    """

    ngram: int = 5
    alphabet: Alphabet = "ascii"
    lower: bool = False
    keep_empty: bool = True
    min_tokens: int = 5
    min_words: int = 5


class Words(NamedTuple):
    """Hashes of the words of several documents, one after the other."""

    hashes: UInt64s
    bounds: Int64s  # [documents + 1]
    filled: Int64s  # [documents]: words that are not empty
    starts: Int64s  # of each word, in the documents (lowered, where the unit says so) joined by one character
    ends: Int64s


def is_word(codes: Codes, alphabet: Alphabet) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """For each character whether it belongs to a word."""
    if alphabet == "unicode" and codes.dtype != np.uint8:
        return np.asarray(alphanumeric()[codes] | (codes == ord("_")))
    if codes.dtype == np.uint8:
        return np.asarray(_ASCII_WORD[codes])
    return np.asarray(_ASCII_WORD[np.minimum(codes, 255)])


def words_of(texts: Sequence[str], unit: Unit) -> Words:
    """The words of documents that are small enough to be hashed together."""
    if unit.lower:
        texts = [text.lower() for text in texts]
    codes = code_points("\n".join(texts) + "\n")
    ends = np.flatnonzero(~is_word(codes, unit.alphabet))
    starts = np.empty_like(ends)
    starts[0] = 0
    np.add(ends[:-1], 1, out=starts[1:])
    hashes = PrefixHash(codes).of(starts, ends)
    last = np.cumsum([len(text) + 1 for text in texts]) - 1  # the separator that closes each document
    bounds = np.concatenate([[0], np.searchsorted(ends, last) + 1])
    filled = np.concatenate([[0], np.cumsum(ends > starts)])
    if unit.keep_empty:
        return Words(hashes, bounds, np.diff(filled[bounds]), starts, ends)
    kept = ends > starts
    return Words(hashes[kept], filled[bounds], np.diff(filled[bounds]), starts[kept], ends[kept])


def shingles_of(texts: Sequence[str | None], unit: Unit) -> Iterator[UInt64s | None]:
    """For each document its distinct shingles as sorted 64-bit hashes; None when it is too short, or has no text."""
    present = [text for text in texts if text is not None]
    found = (shingles for _, batch in batches(present) for shingles in _shingles(batch, unit))
    for text in texts:
        yield None if text is None else next(found)


def _shingles(texts: Sequence[str], unit: Unit) -> Iterator[UInt64s | None]:
    words = words_of(texts, unit)
    grams = in_sequence(words.hashes, unit.ngram)
    for document in range(len(texts)):
        begin, end = int(words.bounds[document]), int(words.bounds[document + 1])
        if end - begin < max(unit.min_tokens, 1) or words.filled[document] < unit.min_words:
            yield None
        elif end - begin < unit.ngram:  # one shingle of all that there is (The Stack v2, `intra_dedup.py`)
            whole = in_sequence(words.hashes[begin:end], end - begin)
            yield whole + constants("short", end - begin)[-1]
        else:
            yield distinct(grams[begin : end - unit.ngram + 1])


def distinct(hashes: UInt64s) -> UInt64s:
    """Sorted, each once."""
    ordered = np.sort(hashes)
    fresh = np.empty(len(ordered), np.bool_)
    fresh[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:])
    return ordered[fresh]


def jaccard(one: UInt64s, other: UInt64s) -> float:
    """Exact Jaccard similarity of two sets of distinct shingles: shared over all; 0 for two empty ones."""
    every = np.concatenate([one, other])
    every.sort()
    shared = int(np.count_nonzero(every[1:] == every[:-1]))
    return shared / (len(every) - shared) if len(every) else 0.0
