"""Where a text holds a benchmark's problem: word for word, with other names, or as most of what it is.

All of it is one pass over the text, whatever the number of problems: hashes of windows, looked up in a small table of
bits first. `Leaks.find` takes a batch of documents.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from starloom.corpus.code_grams import code_grams, tokens_of
from starloom.corpus.prefix_hash import Int64s, UInt64s, batches, in_sequence
from starloom.corpus.shingles import Unit, shingles_of, words_of
from starloom.corpus.substrings import Known, Substrings, unlowered
from starloom.problems import Problem
from starloom.problems.problem import docstring_of, signature_of

# HumanEval's solutions that anyone writes: bigcode-dataset, decontamination/find_substrings.py. Its fourth is spelled
# there so that Python joins it to 'return .join(strings)', which no file holds; here it is what was meant.
GENERIC: Final = frozenset({"return x + y", "return len(string)", "return n**2", "return ''.join(strings)"})
MBPP_TEST: Final = range(11, 511)  # task ids of MBPP's test split (google-research, mbpp/README.md)
LEAST_OTHER: Final = 60  # characters of a string of a benchmark that BigCode did not search for; our choice
SOLUTION_STARTS: Final = ("SOLUTION START", "BEGIN SOLUTION")  # of DS-1000's prompts, first and later format
ALL_BELOW: Final = 10  # n-grams that must be there, or all of a reference that has fewer; our choice

CODE_GRAM, LEAST_CODE_GRAMS = 12, 6  # tokens; programs of fewer than 17 are too common to tell: `docs/sources.md`
WORD_GRAM, LEAST_WORD_GRAMS = 8, 8  # words of a task's text; our choice
TOKEN_SET = Unit(ngram=1, keep_empty=False, min_tokens=10, min_words=10)  # decontamination/minhash.py; least: ours


class Leak(NamedTuple):
    """A problem found in a document: characters start … end of its text."""

    problem: int
    how: str  # substring, ngrams, near_duplicate
    start: int
    end: int
    score: float  # 1, the share of the problem's n-grams, the Jaccard similarity


def published_strings(problem: Problem) -> Iterator[str]:
    """What BigCode searches files for, without regard to case (bigcode-dataset, decontamination/benchmark_data.py)."""
    least = 0
    if problem.benchmark in ("humaneval", "humaneval-plus"):
        strings = [docstring_of(problem.prompt), *problem.solutions]
    elif problem.benchmark in ("mbpp", "mbpp-sanitized"):
        strings = [problem.description, *problem.solutions] if _in_test_split(problem) else []
    elif problem.benchmark == "ds1000":
        cut = min((at for mark in SOLUTION_STARTS if (at := problem.prompt.find(mark)) >= 0), default=None)
        strings = [problem.prompt[:cut]]
    elif problem.benchmark in ("gsm8k", "apps"):  # APPS' 115,212 solutions: too common, and too many
        strings = [problem.prompt]
    elif problem.benchmark == "humaneval-infilling":  # its solutions are single lines of HumanEval's
        strings = [problem.description]
    else:
        strings, least = [problem.description or problem.prompt, *problem.solutions], LEAST_OTHER
    for string in strings:
        if len(string.strip()) > least and string.strip() not in GENERIC:
            yield string.strip()


@dataclass(frozen=True, slots=True)
class _Reference:
    """One form of a problem as a set of n-grams."""

    problem: int
    grams: frozenset[int]


class Overlaps:
    """Finds documents that hold a given share of a reference's n-grams close together."""

    def __init__(self, references: Sequence[_Reference], share: float, least: int) -> None:
        self._references = [one for one in references if len(one.grams) >= least]
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


def _in_test_split(problem: Problem) -> bool:
    return problem.benchmark not in ("mbpp", "mbpp-sanitized") or problem.row["task_id"] in MBPP_TEST


def _code_references(problems: Sequence[Problem]) -> Iterator[_Reference]:
    """Solutions: alone, and behind their signature without the docstring."""
    forms: list[tuple[int, str]] = []
    for number, problem in enumerate(problems):
        if problem.language is not None and problem.benchmark != "humaneval-infilling" and _in_test_split(problem):
            for solution in problem.solutions:
                forms.append((number, solution))
                if problem.continues:
                    header = [line for line in signature_of(problem.prompt).splitlines() if "import " not in line]
                    forms.append((number, "\n".join([*header, solution])))
    for first, batch in batches([form for _, form in forms]):
        tokens = tokens_of(batch)
        grams = code_grams(tokens, CODE_GRAM)
        yield from _references([number for number, _ in forms[first:]], grams, tokens.bounds, CODE_GRAM)


def _word_references(problems: Sequence[Problem]) -> Iterator[_Reference]:
    """Tasks in words."""
    numbers = [number for number, problem in enumerate(problems) if _in_test_split(problem)]
    for first, batch in batches([problems[number].description for number in numbers]):
        words = words_of(batch, _WORDS)
        yield from _references(numbers[first:], in_sequence(words.hashes, WORD_GRAM), words.bounds, WORD_GRAM)


def _references(problems: Sequence[int], grams: UInt64s, bounds: Int64s, n: int) -> Iterator[_Reference]:
    for problem, begin, end in zip(problems, bounds[:-1].tolist(), bounds[1:].tolist(), strict=False):
        yield _Reference(problem, frozenset(grams[begin : max(end - n + 1, begin)].tolist()))


_WORDS = Unit(ngram=WORD_GRAM, alphabet="unicode", lower=True, keep_empty=False)


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
        self._code = Overlaps(list(_code_references(problems)), share, LEAST_CODE_GRAMS)
        self._words = Overlaps(list(_word_references(problems)), share, LEAST_WORD_GRAMS)
        self._sets = TokenSets(problems)

    def find(self, texts: Sequence[str]) -> list[list[Leak]]:
        """Every leak of each document, at most one of a kind and problem."""
        found: list[list[Leak]] = [[] for _ in texts]
        for first, batch in batches(texts):
            for place, leak in self._find_in_batch(batch):
                if all(leak[:2] != other[:2] for other in found[first + place]):
                    found[first + place].append(leak)
        for leaks in found:
            leaks.sort(key=lambda leak: (_ORDER.index(leak.how), leak.problem))
        return found

    def _find_in_batch(self, texts: Sequence[str]) -> Iterator[tuple[int, Leak]]:
        for document, problem, start, end in self._substrings.find(texts):
            yield document, Leak(problem, "substring", start, end, 1.0)
        begins = np.concatenate([[0], np.cumsum([len(text) + 1 for text in texts])]).tolist()
        tokens = tokens_of(texts)
        for document, problem, first, last, score in self._code.find(
            code_grams(tokens, CODE_GRAM), tokens.bounds, CODE_GRAM
        ):
            start, end = tokens.starts[first], tokens.ends[last + CODE_GRAM - 1]
            yield document, Leak(problem, "ngrams", int(start) - begins[document], int(end) - begins[document], score)
        yield from self._find_words(texts)
        for document, shingles in enumerate(shingles_of(texts, TOKEN_SET)):
            if shingles is not None:
                for problem, similarity in self._sets.like(shingles, self._jaccard):
                    yield document, Leak(problem, "near_duplicate", 0, len(texts[document]), similarity)

    def _find_words(self, texts: Sequence[str]) -> Iterator[tuple[int, Leak]]:
        words = words_of(texts, _WORDS)
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
