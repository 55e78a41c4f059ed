"""DS-1000's form of tests, on a context that needs no library."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from starloom.evals.bench import Bench
from starloom.evals.judges.ds1000 import judge, modules_of
from starloom.evals.tasks.ds1000_tasks import TASKS, ask_insertion, inserted
from starloom.evals.tasks.task import Form
from starloom.problems import Problem

CONTEXT = '''
import math
exec_context = r"""
a, b = test_input
[insert]
"""
def test_execution(solution: str):
    names = {"test_input": (1, 2)}
    exec(exec_context.replace("[insert]", solution), names)
    assert names["result"] == 3
def test_string(solution: str):
    assert "sum" not in solution
'''
PROMPT = "Problem:\nAdd.\nA:\n<code>\na, b = load()\n</code>\nresult = ... # put solution in this variable\nBEGIN SOLUTION\n<code>\n"


def problem(context: str = CONTEXT) -> Problem:
    return Problem("ds1000", "DS-1000/0", "Python", PROMPT, PROMPT, ("result = a + b",), tests=(context,))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench() as opened:
        yield opened


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("result = a + b", "passed"),
        ("result = a - b", "wrong_answer"),
        ("result = sum([a, b])", "wrong_answer"),
        ("x = 1", "raised"),
        ("result =", "does_not_compile"),
        ("import sys; sys.exit(0)", "end_not_reached"),
        ("import os; os._exit(0)", "end_not_reached"),
        ("print('passed'); raise SystemExit", "end_not_reached"),
    ],
)
def test_only_the_end_of_the_tests_is_a_pass_and_it_is_weak(bench: Bench, answer: str, status: str) -> None:
    (verdict,) = judge(bench, [(problem(), answer)])
    assert verdict.status == status and verdict.strength == "weak"


def test_a_missing_library_is_named_and_the_rest_is_judged(bench: Bench) -> None:
    lacking = problem("import math, no_such_library\nfrom no_such_other.part import x\n" + CONTEXT)
    assert {"no_such_other", "math"} <= modules_of(lacking)
    missing, right = judge(bench, [(lacking, "result = 3"), (problem(), "result = 3")])
    assert missing.status == "toolchain_missing" and "no_such_other" in missing.detail and right.passed


def test_problems_that_fetch_their_data_are_named_and_not_judged(bench: Bench, data: str) -> None:
    problems = TASKS[0].problems(data)
    fetching = [one for one in problems if one.id in TASKS[0].exceptions]
    verdicts = list(judge(bench, [(one, "x = 1") for one in fetching]))
    assert len(verdicts) == 15 and {verdict.status for verdict in verdicts} == {"toolchain_missing"}
    assert all("network" in verdict.detail for verdict in verdicts)


def test_insertion_shows_which_variable_is_wanted_behind_the_gap() -> None:
    (one,) = inserted([problem()])
    hole = ask_insertion(one, Form())
    assert hole.prefix.endswith("</code>\nBEGIN SOLUTION\n<code>\n") and "put solution" not in hole.prefix  # type: ignore[union-attr]
    assert "END SOLUTION\n<code>\nprint(result)\n</code>" in hole.suffix  # type: ignore[union-attr]


def test_an_answer_ends_at_its_mark_and_keeps_its_indentation() -> None:
    completion = TASKS[0].solution(problem(), "    return a\n</code>\nEND SOLUTION\n", Form())
    assert completion == "    return a\n"
