"""HumanEval+ and MBPP+ as EvalPlus 0.3.1 judges them, strongly: its rules are applied here, to what a program answers.

Each list of inputs, base and plus, is a run of its own, and ends with the first wrong answer, as by default there. Times are
of the CPU instead of the clock, so that a busy machine changes no verdict.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from starloom.evals.bench import Bench
from starloom.evals.judges.evalplus_rules import Rules
from starloom.evals.judges.evalplus_truth import LIMITS, MEMORY, Inputs, truth
from starloom.evals.judges.strong import failed, raised, shown
from starloom.evals.verdict import Verdict
from starloom.problems import Problem
from starloom.sandbox import Limits, Sandbox
from starloom.sandbox.calls import INSIDE, Calls
from starloom.sandbox.in_order import in_order

LEAST_S: Final = 1.0  # seconds for one input, DEFAULT_MIN_TIME_LIMIT
TIMES_REFERENCE: Final = 4.0  # or so many times what the reference takes, DEFAULT_GT_TIME_LIMIT_FACTOR
MOST_S: Final = 60.0  # for one list of inputs, EVALPLUS_TIMEOUT_PER_TASK
SPARE_S: Final = 5.0  # EvalPlus waits 2 s more; sending answers takes time too
DEPTH: Final = 971  # calls that may be nested, of Python's 1,000: measured in evalplus.evaluate 0.3.1
_OS: Final = (
    "kill system putenv remove removedirs rmdir fchdir setuid fork forkpty killpg rename renames truncate replace unlink "
    "fchmod fchown chmod chown chroot lchflags lchmod lchown getcwd chdir"
)
# Names that EvalPlus takes away from the program (eval/utils.py): a solution that uses one fails there
_ABSENT: Final = {
    "builtins": "exit quit open help",
    "os": _OS,
    "shutil": "rmtree move chown",
    "subprocess": "Popen",
    "sys.modules": "ipdb joblib resource psutil tkinter",
}
ABSENT: Final = tuple((module, name) for module, names in _ABSENT.items() for name in names.split())


def judge(bench: Bench, pairs: Sequence[tuple[Problem, str]]) -> Iterator[Verdict]:
    """Verdicts in the order of the pairs; a pair's text is the whole program, the prompt with what goes on from it."""
    sandbox = bench.opened(warm=(INSIDE, "numpy"))

    def verdict(pair: tuple[Problem, str]) -> Verdict:
        began = time.monotonic()
        parts = [_judged(bench, sandbox, pair[0], pair[1], truth(sandbox, pair[0], part)) for part in ("base", "plus")]
        told = {part: one.passed for part, one in zip(("base", "plus"), parts, strict=True)}
        first = next((one for one in parts if not one.passed), parts[0])
        return Verdict(
            all(told.values()), "strong", first.status, first.detail, first.stderr, None, time.monotonic() - began, told
        )

    yield from in_order(bench.workers, verdict, pairs)


def _judged(bench: Bench, sandbox: Sandbox, problem: Problem, program: str, inputs: Inputs) -> Verdict:
    """One list of inputs, up to the first that is answered wrongly."""
    name, row = str(problem.entry_point), problem.row
    limits_s = [max(LEAST_S, TIMES_REFERENCE * one) for one in inputs.cpu_s]
    most_s = min(MOST_S, sum(limits_s)) + SPARE_S
    limits = Limits(wall_s=3 * most_s, cpu_s=most_s, memory_bytes=MEMORY, output_bytes=LIMITS.output_bytes)
    rules = Rules("mbpp" if problem.benchmark.startswith("mbpp") else "humaneval", name, row["atol"])
    with Calls(sandbox, bench.limited(limits)) as calls:
        loaded = calls.load(program, [name], ABSENT, DEPTH)
        if loaded.ok and name not in loaded.names:
            return failed("raised", f"{inputs.part}: the program defines no {name}")
        if not loaded.ok:
            return raised(loaded.reply, calls, inputs.part)
        replies = calls.many(name, inputs.sent, limits_s, args=name == "find_zero", spread=rules.as_sets)
        for given, expected, reply in zip(inputs.given, inputs.expected, replies, strict=False):
            where = f"{inputs.part}: {name}({shown(given)[1:-1]})"
            if reply.what != "value":
                return raised(reply, calls, where)
            if not rules.agrees(given, reply, expected):
                return failed("wrong_answer", f"{where} gave {shown(reply.value)}, not {shown(expected)}")
    return Verdict(True, "strong", "passed")
