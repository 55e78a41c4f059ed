"""Code as n-grams of tokens that do not see the names of variables: a copy with other names has the same ones.

Keywords, built-in names, numbers and what follows a dot stay as they are. Any other name is told by where in the n-gram
it stood before: how many tokens ago, or never (Baker 1993, "A theory of parameterized pattern matching"). So
`for a in b: a` and `for x in y: x` are the same, and `for a in b: b` is another.
"""

from __future__ import annotations

import numpy as np

from starloom.corpus.code_tokens import Tokens
from starloom.corpus.prefix_hash import Int64s, UInt64s, constants, scattered


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
