"""Texts compared with texts: exact match, and BLEU. No program is run."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from starloom.evals.bench import Bench
from starloom.evals.line_gaps import is_exact
from starloom.evals.verdict import Verdict
from starloom.problems import Problem

LONGEST: Final = 4  # n-grams of BLEU-4
TINY: Final = 2.2250738585072014e-308  # the least positive float, which the published script adds before a logarithm
_WORDS: Final = re.compile(r"\w+|[^\s\w]")
# mteval-v11a, as CodeXGLUE's script (after Moses) has it: marks apart, a full stop or a comma unless between digits
_MARKS: Final = re.compile(r"([{-~\[-` -&(-+:-@/])")
_AFTER: Final = re.compile(r"([^0-9])([.,])")
_BEFORE: Final = re.compile(r"([.,])([^0-9])")
_DASH: Final = re.compile(r"([0-9])(-)")


def judge_exact(bench: Bench, pairs: Sequence[tuple[Problem, str]]) -> Iterator[Verdict]:
    """Whether an answer is the hidden text, blanks around both apart (MultiPL-E; tasks/santacoder_fim.py)."""
    for problem, text in pairs:
        exact = is_exact(str(problem.row["canonical_solution"]), text)
        yield Verdict(exact, "text", "passed" if exact else "wrong_answer", "" if exact else _first_line(text))


def judge_bleu(bench: Bench, pairs: Sequence[tuple[Problem, str]]) -> Iterator[Verdict]:
    """Smoothed BLEU-4 of each sentence; a task's figure is their mean, as CodeXGLUE reports it."""
    from starloom.evals.tasks.code_to_text_tasks import reference

    for problem, text in pairs:
        score = bleu(reference(problem), text)
        passed = score == 1
        yield Verdict(passed, "text", "passed" if passed else "wrong_answer", _first_line(text), score=score)


def bleu(reference: str, candidate: str) -> float:
    """Sentence BLEU-4 in [0, 1], one added to matches and counts above unigrams, with CodeXGLUE's brevity penalty.

    That penalty is exp(min(0, 1 − (r + 1)/(c + 1))) over the two lengths in words.
    """
    right, said = _tokens(reference), _tokens(candidate)
    total = 0.0
    for n in range(1, LONGEST + 1):
        wanted, given = _grams(right, n), _grams(said, n)
        matches = sum(min(count, wanted[gram]) for gram, count in given.items())
        smooth = int(n > 1)
        total += math.log(matches + smooth + TINY) - math.log(max(len(said) - n + 1, 0) + smooth + TINY)
    brevity = min(0.0, 1 - (len(right) + 1) / (len(said) + 1))
    return min(math.exp(total / LONGEST + brevity), 1.0)


def _tokens(text: str) -> list[str]:
    """The first field before a tab, in lower case, words and marks apart; then as mteval parts them."""
    line = " ".join(_WORDS.findall(text.strip().split("\t")[0].strip().lower()))
    line = f" {line} "
    for pattern, apart in ((_MARKS, r" \1 "), (_AFTER, r"\1 \2 "), (_BEFORE, r" \1 \2"), (_DASH, r"\1 \2 ")):
        line = pattern.sub(apart, line)
    return line.split()


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[place : place + n]) for place in range(len(words) - n + 1))


def _first_line(text: str, most: int = 200) -> str:
    return text.strip().split("\n")[0][:most]
