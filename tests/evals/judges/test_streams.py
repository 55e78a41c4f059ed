"""Programs that print, and methods that are called: what is expected stays outside, and nothing else is a pass."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from collections.abc import Iterator

import pytest

from starloom.errors import SourceError
from starloom.evals.bench import Bench
from starloom.evals.judges.streams import judge, judge_numbers
from starloom.evals.verdict import Verdict
from starloom.problems import Problem
from starloom.problems.contests import contest_tests


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench(workers=2) as opened:
        yield opened


def apps(inputs: list[object], outputs: list[object], **more: object) -> Problem:
    told = {"inputs": inputs, "outputs": outputs, **more}
    return Problem("apps", "APPS/0", "Python", "Add.", "", row={"input_output": json.dumps(told)})


def packed(tests: list[dict[str, str]]) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


def contest(public: list[dict[str, str]], private: str, function: str | None = None) -> Problem:
    row = {
        "public_test_cases": json.dumps(public),
        "private_test_cases": private,
        "metadata": json.dumps({"func_name": function} if function else {}),
    }
    return Problem("livecodebench", "LiveCodeBench/0", "Python", "Add.", "", row=row)


SUM = apps(["1 2\n", "3 4\n"], ["3\n", "7\n"])
METHOD = contest(
    [{"input": "[1, 2]\n3", "output": "6", "testtype": "functional"}],
    packed([{"input": "[]\n4", "output": "4", "testtype": "functional"}]),
    "total",
)


def one(bench: Bench, problem: Problem, program: str) -> Verdict:
    (verdict,) = judge(bench, [(problem, program)])
    assert verdict.strength == "strong"
    return verdict


def test_a_program_that_prints_what_is_expected_passes(bench: Bench) -> None:
    assert one(bench, SUM, "print(sum(map(int, input().split())))").passed


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("print(3)", "wrong_answer"),
        ("import sys; sys.exit(0)", "wrong_answer"),
        ("import os; os._exit(0)", "wrong_answer"),
        ("print('passed')", "wrong_answer"),
        ("class S(str):\n    __eq__ = lambda self, other: True\nprint(S('no'))", "wrong_answer"),
        ("1/0", "raised"),
        ("print(", "does_not_compile"),
        ("while True: print('x' * 1000000)", "too_much_output"),
    ],
)
def test_any_other_program_fails_and_says_how(bench: Bench, program: str, status: str) -> None:
    assert one(bench, SUM, program).status == status


def test_the_first_test_that_fails_is_named(bench: Bench) -> None:
    told = one(bench, SUM, "input(); print(3)").detail
    assert told.startswith("test 2 of 2") and "expected 7" in told


@pytest.mark.parametrize(
    ("program", "status"),
    [
        (
            "class Solution:\n    def total(self, many: List[int], one: int) -> int:\n        return sum(many) + one",
            "passed",
        ),
        ("def total(many, one): return sum(many) + one", "passed"),
        ("def total(many, one): return sum(many)", "wrong_answer"),
        ("def total(many, one): raise SystemExit(0)", "raised"),
        ("import os\ndef total(many, one): os._exit(0)", "crashed"),
        ("class A:\n    __eq__ = lambda self, other: True\ndef total(many, one): return A()", "wrong_answer"),
        ("def other(): pass", "raised"),
        ("def total(many, one)", "does_not_compile"),
    ],
)
def test_a_method_is_called_and_its_result_compared_outside(bench: Bench, program: str, status: str) -> None:
    assert one(bench, METHOD, program).status == status


def test_apps_takes_a_result_for_the_list_of_it(bench: Bench) -> None:
    problem = apps([[2], [3]], [[4], [9]], fn_name="square")
    assert one(bench, problem, "def square(n): return n * n").passed
    assert not one(bench, problem, "def square(n): return [n]").passed


def test_verdicts_come_in_order(bench: Bench) -> None:
    programs = ["import time; time.sleep(.3); print(sum(map(int, input().split())))", "print(0)"] * 3
    assert [verdict.passed for verdict in judge(bench, [(SUM, program) for program in programs])] == [True, False] * 3


def test_problems_without_readable_tests_are_named_and_the_rest_is_judged(bench: Bench) -> None:
    broken = Problem("apps", "APPS/1", "Python", "?", "", row={"input_output": "{"})
    empty = apps([], [])
    good = "print(sum(map(int, input().split())))"
    verdicts = list(judge(bench, [(broken, good), (empty, good), (SUM, good)]))
    assert [verdict.status for verdict in verdicts] == ["harness_error", "harness_error", "passed"]
    assert "APPS/1" in verdicts[0].detail and "no tests" in verdicts[1].detail


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("def solution():\n    return 3 * 6", "passed"),
        ("def solution():\n    print('so')\n    return 18.0005", "passed"),
        ("def solution():\n    return '18 apples'", "wrong_answer"),
        ("def solution():\n    return float('nan')", "wrong_answer"),
        ("import os; os._exit(0)", "wrong_answer"),
        ("def solve(): return 18", "raised"),
    ],
)
def test_a_sum_is_the_number_that_its_program_prints(bench: Bench, program: str, status: str) -> None:
    problem = Problem("gsm8k", "GSM8K/0", None, "How many?", "", ("She has 9 * 2 = 18.\n#### 18",))
    (verdict,) = judge_numbers(bench, [(problem, program)])
    assert verdict.status == status


def test_packed_tests_are_read_and_never_unpickled() -> None:
    assert contest_tests(METHOD).inputs == ([[1, 2], 3], [[], 4]) and contest_tests(METHOD).outputs == (6, 4)

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("unpickled",)

    evil = base64.b64encode(zlib.compress(pickle.dumps(Bomb()))).decode()
    for private in (evil, "not base64!", base64.b64encode(b"no zlib").decode(), packed([])[:-8]):
        with pytest.raises(SourceError, match="LiveCodeBench/0"):
            contest_tests(contest([], private))


def test_inputs_and_outputs_of_different_number_are_refused() -> None:
    with pytest.raises(SourceError, match="1 inputs and 2 outputs"):
        contest_tests(apps(["1"], ["1", "2"]))
