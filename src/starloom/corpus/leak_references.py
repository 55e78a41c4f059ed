"""What of a benchmark's problem is looked for: published strings, forms of its solutions, its task in words."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Final

from starloom.corpus.code_grams import code_grams
from starloom.corpus.code_tokens import kept_words, tokens_of
from starloom.corpus.overlaps import Reference, references
from starloom.corpus.prefix_hash import batches, in_sequence
from starloom.corpus.shingles import Unit, words_of
from starloom.problems import Problem
from starloom.problems.problem import docstring_of, signature_of

# HumanEval's solutions that anyone writes: bigcode-dataset, decontamination/find_substrings.py. Its fourth is spelled
# there so that Python joins it to 'return .join(strings)', which no file holds; here it is what was meant.
GENERIC: Final = frozenset({"return x + y", "return len(string)", "return n**2", "return ''.join(strings)"})
MBPP_TEST: Final = range(11, 511)  # task ids of MBPP's test split (google-research, mbpp/README.md)
LEAST_OTHER: Final = 60  # characters of a string of a benchmark that BigCode did not search for; our choice
SOLUTION_STARTS: Final = ("SOLUTION START", "BEGIN SOLUTION")  # of DS-1000's prompts, first and later format

CODE_GRAM, LEAST_CODE_GRAMS = 8, 6  # tokens; shorter programs are too common to tell: measured, `docs/sources.md`
LEAST_BODY_GRAMS = 10  # of a solution that goes on from a prompt, without its signature; measured as well
SPELLED_GRAM, LEAST_SPELLED_GRAMS = 8, 1  # tokens of a program in its own names, all of them; our choice
WORD_GRAM, LEAST_WORD_GRAMS = 8, 3  # words of a task's text; our choice
_IMPORT: Final = re.compile("import |from .* import ")
WORDS: Final = Unit(ngram=WORD_GRAM, alphabet="unicode", lower=True, keep_empty=False)


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


def _in_test_split(problem: Problem) -> bool:
    return problem.benchmark not in ("mbpp", "mbpp-sanitized") or problem.row["task_id"] in MBPP_TEST


def renamed_references(problems: Sequence[Problem]) -> Iterator[Reference]:
    """Solutions whatever their names: alone, and behind their signature without the docstring."""
    forms = [(number, form) for number, solution in _programs(problems) for form in solution]
    for numbers, batch in _batched(forms):
        for tokens in ((every := tokens_of(batch)), every.without_remarks()):
            grams = code_grams(tokens, CODE_GRAM)
            for form, one in zip(batch, references(numbers, grams, tokens.bounds, CODE_GRAM), strict=True):
                body = problems[one.problem].continues and form[:1] in " \t"
                if len(one.grams) >= (LEAST_BODY_GRAMS if body else LEAST_CODE_GRAMS):
                    yield one


def spelled_references(problems: Sequence[Problem]) -> Iterator[Reference]:
    """Solutions in their own names and any layout."""
    forms = [(number, solution[0]) for number, solution in _programs(problems) if solution[0].strip() not in GENERIC]
    for numbers, batch in _batched(forms):
        tokens = tokens_of(batch).without_remarks()
        yield from references(numbers, in_sequence(tokens.hashes, SPELLED_GRAM), tokens.bounds, SPELLED_GRAM)


def word_references(problems: Sequence[Problem]) -> Iterator[Reference]:
    """Tasks in words."""
    tasks = [(number, problem.description) for number, problem in enumerate(problems) if _in_test_split(problem)]
    for numbers, batch in _batched(tasks):
        words = words_of(batch, WORDS)
        yield from references(numbers, in_sequence(words.hashes, WORD_GRAM), words.bounds, WORD_GRAM)


def _batched(forms: Sequence[tuple[int, str]]) -> Iterator[tuple[list[int], Sequence[str]]]:
    for first, batch in batches([form for _, form in forms]):
        yield [number for number, _ in forms[first : first + len(batch)]], batch


def _programs(problems: Sequence[Problem]) -> Iterator[tuple[int, list[str]]]:
    """(problem, forms of one solution, as it was published first)."""
    for number, problem in enumerate(problems):
        if problem.language is not None and problem.benchmark != "humaneval-infilling" and _in_test_split(problem):
            for solution in problem.solutions:
                forms = [solution]
                if problem.continues:
                    header = [line for line in signature_of(problem.prompt).splitlines() if not _IMPORT.match(line)]
                    forms.append("\n".join([*header, solution]))
                names = _names_that_are_kept(forms[-1]) if problem.language == "Python" else frozenset()
                yield number, forms + [_with_other_names(form, names) for form in forms if names]


def _names_that_are_kept(program: str) -> frozenset[str]:
    """Names that a Python program gives, though the language has them too: `string`, `sum`, `val`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MBPP writes '\\w'
            nodes = list(ast.walk(ast.parse(program)))
    except SyntaxError:  # MBPP's and MBXP's oldest are Python 2 here and there
        return frozenset()
    names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    names |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return frozenset(names & kept_words())


def _with_other_names(program: str, names: frozenset[str]) -> str:
    return re.sub(rf"(?<![.\w])({'|'.join(sorted(names))})\b", r"_\1_", program)
