"""Code as tokens that neither layout nor comments change.

A token is a word or one other character that is not white space; both quotes are one. What black, `ast.unparse` and
people set as they like is none: parentheses, commas, semicolons, backslashes. A *remark* is a comment, or a string in
triple quotes that is a statement of its own: tokens stand in it, and can be left out.
"""

from __future__ import annotations

import bisect
import builtins
import functools
import keyword
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from starloom.corpus.prefix_hash import Codes, Int64s, PrefixHash, UInt64s, code_points
from starloom.corpus.shingles import is_word

Bools = np.ndarray[Any, np.dtype[np.bool_]]

# Keywords of the other languages that HumanEval was translated to; our choice.
_OTHERS = """abstract auto bool boolean break case catch char class const continue def default delete do double each else
elif end enum export extends extern false final float fn for foreach func function go goto if impl import in include
instanceof int interface let long loop match mut namespace new nil null override package private protected public pub
range return self short signed sizeof static std string String struct super switch template this throw true try type
typedef typeof unless unsigned until use using val var vector virtual void when where while yield"""
_LAYOUT: Final = np.zeros(256, np.bool_)
_LAYOUT[np.frombuffer(b"(),;\\", np.uint8)] = True
_ENDED: Final = np.zeros(256, np.bool_)  # characters behind which `//` is no division
_ENDED[np.frombuffer(b"\n;{},", np.uint8)] = True
_TRIPLE: Final = "'''"
_OPENS: Final = re.compile("[ \\t]*[rRuUbBfF]{0,2}")  # what stands before a docstring in its line
_INDENT: Final = 200  # characters of a line that are looked at before a docstring


class Tokens(NamedTuple):
    """The tokens of several documents, one after the other, as ranges of the joined text."""

    hashes: UInt64s
    starts: Int64s
    ends: Int64s
    bounds: Int64s  # [documents + 1]
    free: Bools  # whether a renaming may change it
    remark: Bools  # whether it stands in a comment or docstring

    def without_remarks(self) -> Tokens:
        kept = ~self.remark
        before = np.concatenate([[0], np.cumsum(kept)])
        return Tokens(
            self.hashes[kept],
            self.starts[kept],
            self.ends[kept],
            before[self.bounds],
            self.free[kept],
            self.remark[kept],
        )


@functools.cache
def kept_words() -> frozenset[str]:
    """Words that a renaming does not change: of the languages, not of a program."""
    return frozenset({*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *_OTHERS.split()})


@functools.cache
def _kept_hashes() -> UInt64s:
    return np.sort(np.concatenate([PrefixHash(code_points(word)).windows(len(word)) for word in sorted(kept_words())]))


def is_member(hashes: UInt64s, known: UInt64s) -> Bools:
    """For each hash whether it is one of the sorted `known`."""
    if not len(known):
        return np.zeros(len(hashes), np.bool_)
    return np.asarray(known[np.minimum(np.searchsorted(known, hashes), len(known) - 1)] == hashes)


def tokens_of(texts: Sequence[str]) -> Tokens:
    """The tokens of documents that are small enough to be hashed together; they are joined by one character."""
    joined = "\n".join(texts).replace('"', "'") + "\n"
    codes = code_points(joined)
    word = is_word(codes, "unicode")
    layout = _LAYOUT[codes] if codes.dtype == np.uint8 else (_LAYOUT[np.minimum(codes, 255)] & (codes < 255))
    begins = word.copy()
    begins[1:] &= ~word[:-1]
    starts = np.flatnonzero(begins | (~word & (codes > ord(" ")) & ~layout))
    of_word = word[starts]
    ends = starts + 1
    closes = word[:-1] & ~word[1:]  # the last character is white space
    ends[of_word] = np.flatnonzero(closes) + 1
    hashes = PrefixHash(codes).of(starts, ends)
    free = of_word & ~_is_digit(codes[starts]) & ~is_member(hashes, _kept_hashes())
    free &= (codes[ends] != ord("'")) & ((starts == 0) | (codes[starts - 1] != ord("'")))
    last = np.cumsum([0, *(len(text) + 1 for text in texts)])
    bounds = np.searchsorted(starts, last)
    follows_dot = np.zeros(len(starts), np.bool_)
    follows_dot[1:] = codes[starts[:-1]] == ord(".")
    follows_dot[bounds[:-1][bounds[:-1] < len(starts)]] = False  # a dot of the document before
    return Tokens(hashes, starts, ends, bounds, free & ~follows_dot, _remarks(joined, codes, starts, last.tolist()))


def _is_digit(codes: Codes) -> Bools:
    return np.asarray((codes >= ord("0")) & (codes <= ord("9")))


def _remarks(joined: str, codes: Codes, starts: Int64s, last: Sequence[int]) -> Bools:
    """For each token whether a remark holds it. `last`: where documents begin, and the end."""
    found = [*_line_comments(codes), *_blocks(joined, last), *_docstrings(joined, last)]
    ranges = np.array(found, np.int64).reshape(-1, 2)
    edges = np.bincount(np.searchsorted(starts, ranges[:, 0]), minlength=len(starts) + 1)
    edges -= np.bincount(np.searchsorted(starts, ranges[:, 1]), minlength=len(starts) + 1)
    return np.asarray(np.cumsum(edges[:-1]) > 0)


def _line_comments(codes: Codes) -> Iterator[tuple[int, int]]:
    """To the end of the line: `#` behind white space, `//` first in its line or behind the end of a statement."""
    newlines = np.flatnonzero(codes == ord("\n"))
    hashes = np.flatnonzero(codes == ord("#"))
    hashes = hashes[(hashes == 0) | (codes[hashes - 1] <= ord(" "))]
    slashes = np.flatnonzero((codes[:-1] == ord("/")) & (codes[1:] == ord("/")))
    if len(slashes):
        solid = np.flatnonzero((codes != ord(" ")) & (codes != ord("\t")))
        before = np.searchsorted(solid, slashes) - 1
        ended = (before < 0) | _ENDED[np.minimum(codes[solid[before]], 255)]
        hashes = np.concatenate([hashes, slashes[ended]])
    yield from zip(hashes.tolist(), newlines[np.searchsorted(newlines, hashes)].tolist(), strict=True)


def _blocks(joined: str, last: Sequence[int]) -> Iterator[tuple[int, int]]:
    """`/* … */` behind white space."""
    at = joined.find("/*")
    while at >= 0 and (end := joined.find("*/", at + 2)) >= 0:
        if (at == 0 or joined[at - 1].isspace()) and end <= last[bisect.bisect_right(last, at)]:
            yield at, end + 2
            at = end
        at = joined.find("/*", at + 2)


def _docstrings(joined: str, last: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Strings in triple quotes below a line that ends in a colon, or first in their document.

    Other quotes alone in a line are taken for the end of a string that began out of sight: one odd quote does not make
    all code that follows it a string.
    """
    at = joined.find(_TRIPLE)
    while at >= 0:
        document = bisect.bisect_right(last, at)
        before = joined[max(at - _INDENT, last[document - 1]) : at]
        line = before.rpartition("\n")[2]
        alone = _OPENS.fullmatch(line) is not None
        above = before[: len(before) - len(line)].rstrip()[-1:]
        end = at
        if "#" not in line and not (alone and above not in (":", "")):
            end = joined.find(_TRIPLE, at + 3, last[document])
            end = last[document] - 3 if end < 0 else end
            if alone:
                yield at, end + 3
        at = joined.find(_TRIPLE, end + 3)
