"""Programs that read and write, and methods that are called: strong verdicts, for what is expected stays outside.

*What is covered.* A program gets one test's input on stdin in a process of its own, and what it printed is compared here
(`output_rules`). A method is called over a pipe and its result compared here. Leaving early, printing "passed" and equality
of its own making are wrong answers. *What is not covered:* a program that knows the expected output by heart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from starloom.errors import SourceError
from starloom.evals.bench import Bench
from starloom.evals.judges.outcomes import failed
from starloom.evals.judges.output_rules import same_lines, same_value, same_words
from starloom.evals.judges.strong import failed as wrong
from starloom.evals.judges.strong import raised, shown
from starloom.evals.verdict import Verdict
from starloom.problems import Problem
from starloom.problems.contests import ContestTests, contest_tests
from starloom.sandbox import Limits, Python, Sandbox
from starloom.sandbox.calls import INSIDE, Calls, packed
from starloom.sandbox.in_order import in_order

# Seconds of one test: LiveCodeBench's runner (6), the APPS metric (4); PAL's executor has 3 s for a program.
SECONDS: Final = {"livecodebench": 6.0, "apps": 4.0}
PAL_SECONDS: Final = 3.0
CLOSE: Final = 1e-3  # of a sum's result (custom_metrics/pal_metric)
MEMORY: Final = 4 << 30  # bytes, EvalPlus' bound; the runners of both have none of their own
OUTPUT: Final = 16 << 20  # bytes: expected outputs reach megabytes
# What a program may use without importing it (lcb_runner/evaluation/testing_util.py)
_NAMES_OF: Final = "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json builtins typing"
_MODULES: Final = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json"
)
PRELUDE: Final = "".join(
    (
        *(f"from {name} import *\n" for name in _NAMES_OF.split()),
        *(f"import {name}\n" for name in _MODULES.split()),
        "sys.setrecursionlimit(50000)\n",
    )
)
_METHOD: Final = "_method_that_is_called"


def judge(bench: Bench, pairs: Sequence[tuple[Problem, str]]) -> Iterator[Verdict]:
    """Contest problems: every test, until one fails."""
    sandbox = bench.opened(warm=(INSIDE,))

    def verdict(pair: tuple[Problem, str]) -> Verdict:
        problem, program = pair
        try:
            tests = contest_tests(problem)
        except SourceError as error:
            return Verdict(False, "strong", "harness_error", str(error))
        if not tests.inputs:
            return Verdict(False, "strong", "harness_error", f"{problem.id} has no tests")
        seconds = SECONDS[problem.benchmark]
        limits = bench.limited(Limits(wall_s=seconds, cpu_s=seconds, memory_bytes=MEMORY, output_bytes=OUTPUT))
        text = PRELUDE + program
        if tests.function is not None:
            return _called(sandbox, limits, text, tests, wrapped=problem.benchmark == "apps")
        same = same_lines if problem.benchmark == "livecodebench" else same_words
        return _printed(sandbox, limits, text, tests, same)

    yield from in_order(bench.workers, verdict, pairs)


def judge_numbers(bench: Bench, pairs: Sequence[tuple[Problem, str]]) -> Iterator[Verdict]:
    """PAL: the last line that `print(solution())` leaves, against the number of the answer."""
    from starloom.evals.tasks.reasoning_tasks import gold_number

    sandbox = bench.sandbox
    limits = bench.limited(Limits(wall_s=PAL_SECONDS, cpu_s=PAL_SECONDS))

    def verdict(pair: tuple[Problem, str]) -> Verdict:
        problem, program = pair
        outcome = sandbox.run(Python(f"{program}\nprint(solution())\n", limits=limits))
        if not outcome.ok:
            return failed(outcome, "strong")
        lines = outcome.stdout.decode("utf-8", "replace").strip().splitlines()
        told = lines[-1].strip() if lines else ""
        try:
            right = abs(float(told) - float(gold_number(problem))) < CLOSE
        except ValueError:
            right = False
        detail = "" if right else f"{told[:100]!r} instead of {gold_number(problem)}"
        return Verdict(right, "strong", "passed" if right else "wrong_answer", detail, seconds=outcome.wall_s)

    yield from in_order(bench.workers, verdict, pairs)


def _printed(
    sandbox: Sandbox, limits: Limits, program: str, tests: ContestTests, same: Callable[[str, str], bool]
) -> Verdict:
    seconds = 0.0
    for number, (given, expected) in enumerate(zip(tests.inputs, tests.outputs, strict=True), 1):
        outcome = sandbox.run(Python(program, stdin=given.encode("utf-8", "surrogatepass"), limits=limits))
        seconds += outcome.wall_s
        where = f"test {number} of {len(tests.inputs)}"
        if not outcome.ok:
            return failed(outcome, "strong", where)
        found = outcome.stdout.decode("utf-8", "replace")
        if not same(found, expected):
            detail = f"{where}: printed {_short(found)}, expected {_short(expected)}"
            return Verdict(False, "strong", "wrong_answer", detail, seconds=seconds)
    return Verdict(True, "strong", "passed", seconds=seconds)


def _called(sandbox: Sandbox, limits: Limits, program: str, tests: ContestTests, *, wrapped: bool) -> Verdict:
    """As published, a class `Solution` is made once, and its method called with each test's arguments.

    `wrapped`: what is expected may be a list of the result (codeparrot/apps_metric).
    """
    wanted = f"{_METHOD} = Solution().{tests.function} if 'Solution' in globals() else {tests.function}"
    each = len(tests.inputs) + 1  # calls, and loading: each has the bounds of one test
    whole = replace(limits, wall_s=limits.wall_s * each, cpu_s=limits.cpu_s * each)
    with Calls(sandbox, whole) as calls:
        loaded = calls.load(f"{program}\n{wanted}\n", (_METHOD,))
        if not loaded.ok:
            return raised(loaded.reply, calls, "before the first test")
        for number, reply in enumerate(
            calls.many(_METHOD, packed(tests.inputs), [limits.cpu_s] * len(tests.inputs)), 1
        ):
            where = f"test {number} of {len(tests.inputs)}"
            if reply.what != "value":
                return raised(reply, calls, where)
            expected = tests.outputs[number - 1]
            right = same_value(reply.value, expected) or (
                wrapped and isinstance(expected, list) and len(expected) == 1 and same_value(reply.value, expected[0])
            )
            if not right:
                return wrong("wrong_answer", f"{where}: {shown(reply.value)}, expected {shown(expected)}")
    return Verdict(True, "strong", "passed")


def _short(text: str, most: int = 80) -> str:
    line = text.strip().replace("\n", "⏎")
    return line if len(line) <= most else f"{line[: most // 2]}…{line[-most // 2 :]}"
