"""Code as n-grams of tokens that do not see the names of variables: a copy with other names has the same ones.

A token is a word or one other character that is not white space. Keywords, built-in names, numbers and what follows a
dot stay as they are, and both quotes are one. Any other name is told by where in the n-gram it stood before: how many tokens ago, or never
(Baker 1993, "A theory of parameterized pattern matching"). So `for a in b: a` and `for x in y: x` are the same, and
`for a in b: b` is another.
"""

from __future__ import annotations

import builtins
import functools
import keyword
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from starloom.corpus.prefix_hash import Codes, Int64s, PrefixHash, UInt64s, code_points, constants, scattered
from starloom.corpus.shingles import is_word

# Keywords of the other languages that HumanEval was translated to; our choice.
_OTHERS = """abstract auto bool boolean break case catch char class const continue def default delete do double each else
elif end enum export extends extern false final float fn for foreach func function go goto if impl import in include
instanceof int interface let long loop match mut namespace new nil null override package private protected public pub
range return self short signed sizeof static std string String struct super switch template this throw true try type
typedef typeof unless unsigned until use using val var vector virtual void when where while yield"""


class Tokens(NamedTuple):
    """The tokens of several documents, one after the other, as ranges of the joined text."""

    hashes: UInt64s
    starts: Int64s
    ends: Int64s
    bounds: Int64s  # [documents + 1]
    free: np.ndarray[tuple[int], np.dtype[np.bool_]]  # whether a renaming may change it


@functools.cache
def _kept_words() -> UInt64s:
    words = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *_OTHERS.split()}
    return np.sort(np.concatenate([PrefixHash(code_points(word)).windows(len(word)) for word in sorted(words)]))


def is_member(hashes: UInt64s, known: UInt64s) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """For each hash whether it is one of the sorted `known`."""
    if not len(known):
        return np.zeros(len(hashes), np.bool_)
    return np.asarray(known[np.minimum(np.searchsorted(known, hashes), len(known) - 1)] == hashes)


def tokens_of(texts: Sequence[str]) -> Tokens:
    """The tokens of documents that are small enough to be hashed together; they are joined by one character."""
    codes = code_points("\n".join(texts).replace('"', "'") + "\n")
    word = is_word(codes, "unicode")
    begins = word.copy()
    begins[1:] &= ~word[:-1]
    starts = np.flatnonzero(begins | (~word & (codes > ord(" "))))
    of_word = word[starts]
    ends = starts + 1
    closes = word[:-1] & ~word[1:]  # the last character is white space
    ends[of_word] = np.flatnonzero(closes) + 1
    hashes = PrefixHash(codes).of(starts, ends)
    free = of_word & ~_is_digit(codes[starts]) & ~is_member(hashes, _kept_words())
    last = np.cumsum([len(text) + 1 for text in texts])
    bounds = np.concatenate([[0], np.searchsorted(starts, last)])
    follows_dot = np.zeros(len(starts), np.bool_)
    follows_dot[1:] = codes[starts[:-1]] == ord(".")
    follows_dot[bounds[:-1][bounds[:-1] < len(starts)]] = False  # a dot of the document before
    return Tokens(hashes, starts, ends, bounds, free & ~follows_dot)


def _is_digit(codes: Codes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray((codes >= ord("0")) & (codes <= ord("9")))


def code_grams(tokens: Tokens, n: int) -> UInt64s:
    """The hash of the n tokens from each token on, names told by their last place; those across documents mean nothing."""
    count = len(tokens.hashes) - n + 1
    if count < 1:
        return np.empty(0, np.uint64)
    ago = _distance_to_same(tokens, n)
    fresh = np.where(tokens.free, constants("fresh name", 1)[0], tokens.hashes)
    known = np.where(ago > 0, scattered(ago.astype(np.uint64) + constants("known name", 1)[0]), fresh)
    factor = constants("sequence", 1)[0] | np.uint64(1)
    found = np.zeros(count, np.uint64)
    for offset in range(n):
        here = slice(offset, offset + count)
        found *= factor
        found += np.where(ago[here] <= offset, known[here], fresh[here])
    return found


def _distance_to_same(tokens: Tokens, n: int) -> Int64s:
    """How many tokens before a free name the same one stood, where that is less than n; else 0."""
    places = np.flatnonzero(tokens.free)
    order = places[np.argsort(tokens.hashes[places], kind="stable")]
    distance = np.zeros(len(tokens.hashes), np.int64)
    if len(order) > 1:
        same = tokens.hashes[order[1:]] == tokens.hashes[order[:-1]]
        steps = order[1:] - order[:-1]
        near = same & (steps < n)
        distance[order[1:][near]] = steps[near]
    return distance
