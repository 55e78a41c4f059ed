"""HumanEval, MBPP and CRUXEval judged strongly: references pass, wrong programs and cheats do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.attacks.cheats import CHEATS
from starloom.evals.bench import Bench
from starloom.evals.judges import cruxeval, python, python_tests
from starloom.evals.judges.python_tests import free_names
from starloom.problems import Problem, load


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench(workers=2) as made:
        yield made


def judged(bench: Bench, problem: Problem, *programs: str) -> list[Any]:
    return list(python.judge(bench, [(problem, program) for program in programs]))


def test_references_pass_and_their_neighbors_do_not(bench: Bench) -> None:
    problems = [*load("humaneval")[41:54:2], *load("mbpp")[:4]]
    right = [(problem, problem.programs()[0]) for problem in problems]
    assert all(verdict.passed and verdict.strength == "strong" for verdict in python.judge(bench, right))
    pairs = zip(problems, [*problems[1:], problems[0]], strict=True)
    swapped = [
        (one, other.programs()[0].replace(f"def {other.entry_point}(", f"def {one.entry_point}("))
        for one, other in pairs
    ]
    assert not any(verdict.passed for verdict in python.judge(bench, swapped))


def test_a_program_cannot_bring_the_helper_that_checks_it(bench: Bench) -> None:
    problem = next(one for one in load("humaneval") if one.id == "HumanEval/32")
    cheat = "def poly(xs, x): return 0\ndef find_zero(xs): return 1"
    (verdict,) = judged(bench, problem, cheat)
    assert (verdict.passed, verdict.status) == (False, "wrong_answer")


SLOW = ("call_that_never_ends", "searches_its_files_for_answers")


@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["quick", "slow"])
def test_no_cheat_passes_the_benchmarks_own_tests(slow: bool) -> None:
    cheats = [one for one in CHEATS if (one.name in SLOW) == slow]
    problems = {problem.id: problem for problem in load("humaneval")}
    with Bench(workers=2, limits={"cpu_s": 2.0, "wall_s": 6.0}) as bench:
        pairs = [(problems[one.task], one.program) for one in cheats]
        for one, verdict in zip(cheats, python.judge(bench, pairs), strict=True):
            assert not verdict.passed and verdict.status != "harness_error", (one.name, verdict)


def mbpp(code: str, tests: list[str], setup: str = "") -> Problem:
    row = {"test_setup_code": setup, "test_list": tests}
    return Problem("mbpp", "MBPP/0", "Python", "", "", (code,), tests=tuple(tests), row=row)


def test_classes_of_a_program_may_be_used_by_its_tests(bench: Bench) -> None:
    code = "class Node:\n    def __init__(self, x):\n        self.x, self.left = x, None\ndef depth(n): return 0 if n is None else 1 + depth(n.left)"
    problem = mbpp(code, ["assert depth(root) == 2"], "root = Node(1)\r\nroot.left = Node(2)")
    right, wrong = judged(bench, problem, code, code.replace("1 + depth", "2 + depth"))
    assert right.passed and wrong.status == "wrong_answer"


def test_types_and_built_in_names_are_what_the_reference_takes_them_for(bench: Bench) -> None:
    code = "def sum(a, kind): return [x for x in a if not isinstance(x, kind)]"
    problem = mbpp(code, ["assert sum((4, 7.7), int) == [7.7] and len([1]) == 1"])
    assert python_tests.tests_of(problem).names == ("sum",)
    right, wrong = judged(bench, problem, code, "def len(x): return 1\ndef sum(a, kind): return []")
    assert right.passed and not wrong.passed


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("def check(f):\n    assert f(1)\ncheck(f)", {"f"}),
        ("def check(f):\n    assert f(1)", set()),
        ("import math\nx = [y for y in (1,)]\nassert g(math.pi, *x, k=lambda z: z)", {"g"}),
        ("class A:\n    def m(self): return b\nA()", {"b"}),
    ],
)
def test_free_names_are_those_a_text_takes_from_elsewhere(text: str, free: set[str]) -> None:
    assert free_names(text) == free


def crux(code: str, given: str, output: str) -> Problem:
    return Problem("cruxeval", "CRUXEval/0", "Python", code, "", row={"input": given, "output": output})


F = "def f(x):\n    return (x, [x])"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("(1, [1])", "passed"),
        ("tuple([1, [0 + 1]])", "passed"),
        ("(1, (1,))", "wrong_answer"),
        ("f(1)", "raised"),  # there is no f where an output is worked out
        ("(1, [1]", "does_not_compile"),
        ("type('A', (), {'__eq__': lambda *a: True})()", "wrong_answer"),
        ("__import__('os')._exit(0)", "crashed"),
        ("(1, [1]) if print('passed') else 2", "wrong_answer"),
        ("[" * 5000, "does_not_compile"),
    ],
)
def test_an_output_is_a_value_and_nothing_else(bench: Bench, answer: str, status: str) -> None:
    (verdict,) = cruxeval.judge_outputs(bench, [(crux(F, "1", "(1, [1])"), answer)])
    assert (verdict.status, verdict.strength) == (status, "strong"), verdict


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("f(1)", "passed"),
        ("f(x=len('a'))", "passed"),
        ("f('1'.count('1'))", "passed"),
        ("f(2)", "wrong_answer"),
        ("f(1) and (1, [1])", "wrong_answer"),
        ("f(0) if 0 else (1, [1])", "wrong_answer"),
        ("f(globals().update(f=0))", "wrong_answer"),
        ("f((f.__code__, 1)[1])", "wrong_answer"),
        ("f(exec('1'))", "wrong_answer"),
        ("f(['f.__code__ = (lambda x: (1, [1])).__code__'].sort(key=exec))", "wrong_answer"),
        ("f(['f.__code__ = 0'].sort(key=(x for x in '').gi_frame.f_builtins['exec']))", "wrong_answer"),
        ("f([exec for exec in '1'] and ['f = 0'].sort(key=exec))", "wrong_answer"),
        ("f([x for x in range(1, 2)][0])", "passed"),
        ("f(1", "wrong_answer"),
        ("f(y=1)", "raised"),
    ],
)
def test_an_input_is_a_call_with_values(bench: Bench, answer: str, status: str) -> None:
    (verdict,) = cruxeval.judge_inputs(bench, [(crux(F, "1", "(1, [1])"), answer)])
    assert (verdict.status, verdict.strength) == (status, "strong"), verdict
