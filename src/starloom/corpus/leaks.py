"""Where a text holds a benchmark's problem: word for word, with other names, or as most of what it is.

All of it is one pass over the text, whatever the number of problems: hashes of windows, looked up in a small table of
bits first. `Leaks.find` takes a batch of documents.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from starloom.corpus.code_grams import code_grams
from starloom.corpus.code_tokens import tokens_of
from starloom.corpus.leak_references import (
    CODE_GRAM,
    LEAST_CODE_GRAMS,
    LEAST_SPELLED_GRAMS,
    LEAST_WORD_GRAMS,
    SPELLED_GRAM,
    WORD_GRAM,
    WORDS,
    published_strings,
    renamed_references,
    spelled_references,
    word_references,
)
from starloom.corpus.overlaps import Overlaps
from starloom.corpus.prefix_hash import UInt64s, batches, in_sequence
from starloom.corpus.shingles import Unit, shingles_of, words_of
from starloom.corpus.substrings import Substrings, unlowered
from starloom.problems import Problem

TOKEN_SET = Unit(ngram=1, keep_empty=False, min_tokens=10, min_words=10)  # decontamination/minhash.py; least: ours


class Leak(NamedTuple):
    """A problem found in a document: characters start … end of its text."""

    problem: int
    how: str  # substring, ngrams, near_duplicate
    start: int
    end: int
    score: float  # 1, the share of the problem's n-grams, the Jaccard similarity


class Leaks:
    """Finds the given problems in documents."""

    def __init__(self, problems: Sequence[Problem], share: float, jaccard: float) -> None:
        self.problems = problems
        self._jaccard = jaccard
        strings: dict[str, set[int]] = defaultdict(set)
        for number, problem in enumerate(problems):
            for string in published_strings(problem):
                for form in {string, string.replace("\r\n", "\n")}:
                    strings[form].add(number)
        self._substrings = Substrings({string: sorted(numbers) for string, numbers in strings.items()})
        self._renamed = Overlaps(list(renamed_references(problems)), share, LEAST_CODE_GRAMS)
        self._spelled = Overlaps(list(spelled_references(problems)), 1.0, LEAST_SPELLED_GRAMS)
        self._words = Overlaps(list(word_references(problems)), share, LEAST_WORD_GRAMS)
        self._sets = TokenSets(problems)

    def find(self, texts: Sequence[str]) -> list[list[Leak]]:
        """Every leak of each document, the best of a kind and problem."""
        found: list[dict[tuple[int, int], Leak]] = [{} for _ in texts]
        for first, batch in batches(texts):
            for document, leak in self._find_in_batch(batch):
                mine, key = found[first + document], (_ORDER.index(leak.how), leak.problem)
                if key not in mine or mine[key].score < leak.score:
                    mine[key] = leak
        return [[leak for _, leak in sorted(mine.items())] for mine in found]

    def _find_in_batch(self, texts: Sequence[str]) -> Iterator[tuple[int, Leak]]:
        for document, problem, start, end in self._substrings.find(texts):
            yield document, Leak(problem, "substring", start, end, 1.0)
        yield from self._find_code(texts)
        yield from self._find_words(texts)
        for document, shingles in enumerate(shingles_of(texts, TOKEN_SET)):
            if shingles is not None:
                for problem, similarity in self._sets.like(shingles, self._jaccard):
                    yield document, Leak(problem, "near_duplicate", 0, len(texts[document]), similarity)

    def _find_code(self, texts: Sequence[str]) -> Iterator[tuple[int, Leak]]:
        begins = np.concatenate([[0], np.cumsum([len(text) + 1 for text in texts])]).tolist()
        every = tokens_of(texts)
        for tokens in (every, every.without_remarks()) if every.remark.any() else (every,):
            for overlaps, grams, n in (
                (self._renamed, code_grams(tokens, CODE_GRAM), CODE_GRAM),
                (self._spelled, in_sequence(tokens.hashes, SPELLED_GRAM), SPELLED_GRAM),
            ):
                for document, problem, first, last, score in overlaps.find(grams, tokens.bounds, n):
                    start, end = int(tokens.starts[first]), int(tokens.ends[last + n - 1])
                    yield document, Leak(problem, "ngrams", start - begins[document], end - begins[document], score)

    def _find_words(self, texts: Sequence[str]) -> Iterator[tuple[int, Leak]]:
        words = words_of(texts, WORDS)
        lowered = [text.lower() for text in texts]
        begins = np.concatenate([[0], np.cumsum([len(text) + 1 for text in lowered])]).tolist()
        grams = in_sequence(words.hashes, WORD_GRAM)
        for document, problem, first, last, score in self._words.find(grams, words.bounds, WORD_GRAM):
            start, end = int(words.starts[first]), int(words.ends[last + WORD_GRAM - 1])
            at = unlowered(texts[document], lowered[document], start - begins[document], end - start)
            yield document, Leak(problem, "ngrams", *at, score)


_ORDER = ("substring", "ngrams", "near_duplicate")


class TokenSets:
    """Problems as sets of single tokens, for exact Jaccard similarity; BigCode estimates it first, by MinHash."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        texts = [" ".join([one.prompt, *one.solutions, *one.tests]) for one in problems]
        sets = [np.empty(0, np.uint64) if one is None else one for one in shingles_of(texts, TOKEN_SET)]
        self._sizes = np.array([len(one) for one in sets], np.int64)
        owners = np.repeat(np.arange(len(sets)), self._sizes)
        tokens = np.concatenate([np.empty(0, np.uint64), *sets])
        order = np.argsort(tokens, kind="stable")
        self._owners, self._tokens = owners[order], tokens[order]
        self._largest = int(self._sizes.max(initial=0))

    def like(self, tokens: UInt64s, least: float) -> Iterator[tuple[int, float]]:
        """(problem, Jaccard similarity) of the problems at least this similar to a set."""
        if least * len(tokens) > self._largest:
            return
        begin = np.searchsorted(self._tokens, tokens)
        lengths = np.searchsorted(self._tokens, tokens, side="right") - begin
        offsets = np.repeat(begin - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        shared = np.bincount(self._owners[offsets + np.arange(lengths.sum())], minlength=len(self._sizes))
        similarity = shared / (len(tokens) + self._sizes - shared)
        for problem in np.flatnonzero(similarity >= least).tolist():
            yield problem, float(similarity[problem])
