"""Benchmarks that come with tests in their own language: HumanEval-X, HumanEvalPack, MXEval, MBXP, MultiPL-E.

Weak verdicts, by the benchmarks' own tests. What is set right on the way, because the tests as published prove less:
console.assert throws (Node only prints), Java asserts (-ea), C and C++ too (NDEBUG is undefined by the tests, and macros
that the program defines over the tests' words are undone), and Go's and Rust's test functions are called and counted by us.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from starloom.evals.bench import Bench
from starloom.evals.judges.weak import weak_judge
from starloom.evals.verdict import Verdict
from starloom.problems import Problem

NO_TESTS: Final = "{id} has no tests"


def judge(bench: Bench, pairs: Sequence[tuple[Problem, str]]) -> Iterator[Verdict]:
    """Verdicts in the order of the pairs; a pair's text is the whole program, the prompt with what goes on from it."""
    weak = weak_judge(bench)

    def verdict(pair: tuple[Problem, str]) -> Verdict:
        problem, program = pair
        tests = tests_of(problem)
        if not tests.strip():
            return Verdict(False, "weak", "harness_error", NO_TESTS.format(id=problem.id))
        return weak.judge(problem.language or "", program, tests)

    with ThreadPoolExecutor(bench.workers) as pool:
        yield from pool.map(verdict, pairs)


def tests_of(problem: Problem) -> str:
    """A problem's tests as they run behind a program, with what its benchmark leaves to the harness."""
    tests = "\n".join(problem.tests)
    if problem.language == "Go" and "test_setup" in problem.row:  # HumanEvalPack: the package clause and its imports
        return f"{problem.row['test_setup']}\n{tests}"
    if problem.language == "Python" and problem.benchmark == "multilingual-humaneval":
        return f"{tests}\ncheck({problem.entry_point})\n"
    return tests
